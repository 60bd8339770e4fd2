"""Result files: strict pytest-benchmark JSON, written atomically, with a journal that outlives the process.

Knows the fields of a row and the rules of a file; knows neither kernels nor engine. A file is either absent or
whole: rows of a run that was killed live in its journal until the next run, or `recover_journals`, makes a result
file of them.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

from kinetics.files.atomic import writing
from kinetics.files.checked import shown
from kinetics.files.json_text import parse_json
from kinetics.files.reading import DataFileError, read_text

SCHEMA = 1
RUNS = "runs"
"""Folder of what was run here, ignored by git. What is published is copied out of it, by `kinetics publish`."""

MAX_VALUES = 2_000_000
"""Of a result file; one of two thousand rows with a hundred samples each has a sixth."""

Document = dict[str, Any]


class Skip(NamedTuple):
    """A case that left no row, and why."""

    name: str
    reason: str


def read_result(path: Path) -> Document:
    """A result file of this schema.

    Raises: DataFileError, in one line naming the file, if it is missing, not JSON, or not such a file.
    """
    text = read_text(path)
    if (num_values := text.count(",")) > MAX_VALUES:
        raise DataFileError(
            f"{path}: must hold at most {MAX_VALUES} values, got about {num_values}; keep fewer samples"
        )
    try:
        document = parse_json(text)
    except ValueError as error:
        raise DataFileError(f"{path}: is not JSON ({error}); was the copy cut short?") from None
    if not isinstance(document, dict) or not isinstance(document.get("benchmarks"), list):
        raise DataFileError(f"{path}: is not a result file (no list named benchmarks); make one with pytest bench/")
    if document.get("schema") != SCHEMA:
        raise DataFileError(f"{path}: schema must be {SCHEMA}, got {shown(document.get('schema'))}; measure again")
    return document


def result_path(results_dir: Path, device_slug: str, *, started: float, commit: str, is_dirty: bool, grid: str) -> Path:
    """`<results>/<device>/<UTC>_<sha7>[-dirty]_<grid>_<pid>.json`; tables of the run lie in `tables_folder` of it.

    The process id tells runs apart that start in the same second; those of two containers that have one id, their
    journals.
    """
    name = f"{_stamp(started)}_{commit[:7]}{'-dirty' if is_dirty else ''}_{grid}_{os.getpid()}.json"
    return results_dir / device_slug / name


def tables_folder(result: Path) -> Path:
    """Where the tables and figures of a run lie: the folder of the result file's name, beside it."""
    return result.with_suffix("")


def fresh_folder(kind: str) -> Path:
    """A new name under `runs/` of the current folder for what a verb writes unless told where; nothing is made."""
    return Path(RUNS) / kind / f"{_stamp(time.time())}_{os.getpid()}"


def _stamp(moment: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(moment))


def check_writable(folder: Path, *, remedy: str = "choose another with --results-dir") -> None:
    """Make the folder and prove that a file can be written there, before anything is measured.

    Raises: CannotWriteError naming the folder and what to do.
    """
    with writing(f"result folder {folder}", remedy=remedy):
        str(folder).encode()  # some of what writes there knows no other names
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
