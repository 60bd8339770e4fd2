"""`kinetics bench`: the suite's benchmarks by pytest, from wherever they are, with results in the current folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import typer

from kinetics.bench.folder import benchmarks_folder

_EXIT_CODES: Final = {0: 0, 1: 1, 2: 130, 3: 3, 4: 2, 5: 2}
"""What the command ends with for each of pytest's exit codes: 2 is Ctrl-C there, 4 and 5 are a caller's mistakes."""


def bench(context: typer.Context) -> None:
    """Measure this machine: every case proved, timed, and set beside its prediction.

    Takes pytest's options and the suite's own (`pytest --help` lists them under "kinetics"): --grid, --device,
    --provider, --model, --batch, --context, --kv-budget and more. Names of benchmark files, such as
    test_decode_step.py, choose among them; without any, all are run. Results go to runs/ in the current folder.
    """
    import pytest

    raise typer.Exit(_EXIT_CODES[int(pytest.main(pytest_arguments(context.args, Path.cwd())))])


def pytest_arguments(arguments: Sequence[str], here: Path) -> list[str]:
    """What pytest is told: the chosen files, or all; nobody's configuration; results below the current folder."""
    folder = benchmarks_folder()
    files = {path.name for path in folder.glob("test_*.py")}
    chosen = [str(folder / argument) if argument.split("::")[0] in files else argument for argument in arguments]
    if chosen == list(arguments):
        chosen.append(str(folder))
    # An empty configuration: the folder that a person stands in may have one, with options of its own.
    fixed = ["--benchmark-only", "--import-mode=importlib", f"--rootdir={here}", f"--config-file={os.devnull}"]
    return [*fixed, "-p", "kinetics.bench.plugin", "-p", "no:cacheprovider", "-ra", *chosen]
