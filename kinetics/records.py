"""Result files: strict pytest-benchmark JSON, written atomically, with a journal that outlives the process.

Knows the fields of a row and the rules of a file; knows neither kernels nor engine. A file is either absent or
whole: rows of a run that was killed live in its journal until the next run, or `recover_journals`, makes a result
file of them.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import psutil

SCHEMA = 1
JOURNAL_SUFFIX = ".journal.jsonl"

Document = dict[str, Any]

MEASURED_FIELDS = (
    "operation", "provider", "provider_version", "model", "batch", "context_len", "kv_budget", "page_size", "dtype",
    "cache_state", "graph", "minimum_bytes", "flop", "predicted_s", "calibrated_s", "calibration_role",
    "measured_over_predicted", "achieved_bytes_per_s", "ceiling_bytes_per_s", "fraction_of_ceiling", "max_abs_error",
)  # fmt: skip
"""What `extra_info` of every measured kernel row carries. `calibrated_s` is null where nothing could be fitted."""


class Skip(NamedTuple):
    """A case that left no row, and why."""

    name: str
    reason: str


def to_strict(value: Any) -> Any:
    """`value` as plain JSON types: numpy scalars become numbers, NaN and infinities null, the rest text."""
    if isinstance(value, Enum):
        return to_strict(value.value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): to_strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_strict(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return to_strict(value.item())
    return str(value)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write strict JSON so that `path` is at every moment the old file or the new one, never half of either."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    text = json.dumps(to_strict(document), indent=1, allow_nan=False)
    with partial.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_result(path: Path) -> Document:
    """A result file of this schema.

    Raises: ValueError, in one line naming the file, if it is missing, not JSON, or not such a file.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: is not JSON ({error}); was the copy cut short?") from None
    if not isinstance(document, dict) or not isinstance(document.get("benchmarks"), list):
        raise ValueError(f"{path}: is not a result file (no list named benchmarks); make one with pytest bench/")
    if document.get("schema") != SCHEMA:
        raise ValueError(f"{path}: schema must be {SCHEMA}, got {document.get('schema')!r}; measure again")
    return document


def result_path(results_dir: Path, device_slug: str, *, started: float, commit: str, is_dirty: bool, grid: str) -> Path:
    """`<results>/<device>/<UTC>_<sha7>[-dirty]_<grid>.json`."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(started))
    return results_dir / device_slug / f"{stamp}_{commit[:7]}{'-dirty' if is_dirty else ''}_{grid}.json"


def check_writable(folder: Path) -> None:
    """Make the folder and prove that a file can be written there, before anything is measured.

    Raises: ValueError naming the folder and what to do.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable.{os.getpid()}"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"result folder {folder} cannot be written ({error.strerror}); choose another with --results-dir"
        ) from None


class RowJournal:
    """Finished rows of the run in progress, one JSON line each, on disk before the next case starts.

    The first line is the header: process id, the result file it stands for, and everything that file says
    besides its rows.
    """

    def __init__(self, result: Path, header: Mapping[str, Any]) -> None:
        self.path = result.with_name(result.stem + JOURNAL_SUFFIX)
        self.num_rows = 0
        self._file = self.path.open("w", encoding="utf-8")
        identity = {"pid": os.getpid(), "process_started": psutil.Process().create_time(), "result": result.name}
        self._write({**identity, "document": header})

    def append(self, row: Mapping[str, Any]) -> None:
        """Put one finished row on disk."""
        self._write(row)
        self.num_rows += 1

    def discard(self) -> None:
        """Forget the journal: its rows stand in the result file, or there are none."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(to_strict(line), allow_nan=False) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def recover_journals(folder: Path, *, complete: Callable[[Document], None]) -> list[Path]:
    """Make a result file of every journal in `folder` whose process is gone; return the files made.

    `complete` fills in what only a whole set of rows can tell, as at the end of a run. A journal that cannot be read
    or completed, being of another version, is put aside under a name ending in `.unreadable`, and named among the
    files.
    """
    made = []
    for journal in sorted(folder.glob(f"*{JOURNAL_SUFFIX}")):
        try:
            recovered = read_journal(journal)
            if recovered is None:
                continue
            result, document = recovered
            has_rows = bool(document["benchmarks"])
            if has_rows:
                complete(document)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            made.append(journal.rename(journal.with_name(f"{journal.name}.unreadable")))
            continue
        if has_rows:
            write_json(result, document)
            made.append(result)
        journal.unlink(missing_ok=True)
    return made


def read_journal(path: Path) -> tuple[Path, Document] | None:
    """The result file that a dead process's journal amounts to, or None while that process lives.

    A half-written last line is dropped. A journal without a readable header amounts to nothing.
    """
    lines = list(_whole_lines(path))
    if not lines or not {"document", "pid", "process_started", "result"} <= set(lines[0]):
        return path.with_suffix(".json"), {"benchmarks": []}
    header, rows = lines[0], lines[1:]
    if _is_alive(header["pid"], header["process_started"]):
        return None
    result = path.with_name(Path(header["result"]).stem + "_partial.json")
    return result, {**header["document"], "benchmarks": rows, "is_partial": True}


def _whole_lines(path: Path) -> Iterable[Document]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return


def _is_alive(pid: int, process_started: float) -> bool:
    try:
        return bool(abs(psutil.Process(pid).create_time() - process_started) < 10.0)
    except psutil.Error:
        return False
