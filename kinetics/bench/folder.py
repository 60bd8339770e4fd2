"""Where the benchmarks are: inside the installed package, or in `bench/` of a checkout."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import kinetics


def benchmarks_folder() -> Path:
    """The folder of the suite's own benchmark files."""
    package = Path(kinetics.__file__).resolve().parent
    installed = package / "benchmarks"
    return installed if installed.is_dir() else package.parent / "bench"


def reaches_benchmarks(arguments: Iterable[str], start: Path) -> bool:
    """Whether any of these paths or dotted names, as pytest takes them, collects from the suite's benchmarks.

    A folder above them counts in a checkout, where pytest would collect them too, and not where they are installed:
    pytest does not look into a virtual environment that lies in the folder it was given.
    """
    folder = benchmarks_folder()
    for argument in arguments:
        path = (start / argument.split("::")[0]).resolve()
        if argument.startswith("kinetics.benchmarks") or path.is_relative_to(folder):
            return True
        if folder.name == "bench" and folder.is_relative_to(path):
            return True
    return False
