"""`kinetics bench`: the suite's benchmarks by pytest, from wherever they are, with results in the current folder."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from kinetics.bench.folder import benchmarks_folder
from kinetics.files.printable import printable
from kinetics.files.reading import DataFileError
from kinetics.results.store import RUNS

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


def recover(
    folder: Annotated[Path, typer.Argument(help="Where runs were to write.")] = Path(RUNS),
    as_json: Annotated[bool, typer.Option("--json", help="Print the files made as JSON.")] = False,
) -> None:
    """Make result files of what killed runs left; the next run of the same device would do it, too.

    A run that is still going on is left alone.
    """
    from kinetics.bench.result_file import complete_document
    from kinetics.gate.gate_file import complete
    from kinetics.results.journal import JOURNAL_SUFFIX
    from kinetics.results.recovery import recover_journals

    if not folder.is_dir() and folder != Path(RUNS):
        raise DataFileError(f"{folder}: must be a folder of runs, got none; name the one that runs wrote to")
    folders = sorted({path.parent for path in folder.rglob(f"*{JOURNAL_SUFFIX}")})
    made = []
    for one in folders:
        made += recover_journals(one, complete=complete if one.name == "gate" else complete_document)
    if as_json:
        typer.echo(json.dumps({"files": [str(one.path) for one in made if one.is_result]}))
    else:
        typer.echo("\n".join(printable(str(one.path)) for one in made if one.is_result) or "nothing to recover")
    for problem in (one for one in made if one.problem is not None):
        typer.echo(printable(str(problem)), err=True)
    if any(one.problem is not None for one in made):
        raise typer.Exit(1)


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
