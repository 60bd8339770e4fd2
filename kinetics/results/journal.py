"""Rows of a run in progress, on disk before the next case starts, and result files made of what a killed run left."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil

from kinetics.files.atomic import to_strict, write_json
from kinetics.files.json_text import parse_json
from kinetics.results.store import Document

JOURNAL_SUFFIX = ".journal.jsonl"


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
            yield parse_json(line)
        except ValueError:
            return


def _is_alive(pid: int, process_started: float) -> bool:
    try:
        return bool(abs(psutil.Process(pid).create_time() - process_started) < 10.0)
    except psutil.Error:
        return False
