"""Result files made of what killed runs left: every row that can be read, once, and nothing of a living run.

Touches journals alone. What cannot be read is put aside under another name, never removed; what cannot be opened is
left where it is; neither ends the run that found it.
"""

from __future__ import annotations

import copy
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from kinetics.files.atomic import CannotWriteError, dead_partials, json_text, write_text
from kinetics.files.checked import checked
from kinetics.files.json_text import parse_json
from kinetics.files.lines import Complaints, read_lines
from kinetics.files.reading import MAX_TEXT_BYTES
from kinetics.results.journal import (
    CLOSING,
    JOURNAL_SUFFIX,
    PARTIAL_ENDING,
    Closing,
    closing_line,
    is_still_at,
    lock,
    names_beside,
    write_all,
)
from kinetics.results.store import Document

UNREADABLE_SUFFIX: Final = ".unreadable"
_SAME_START_S: Final = 10.0
"""Two readings of when a process started differ by less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What became of a journal. `path`: the result file made of it, or where it lies now; `problem`: why not all of it.

    `is_result`: whether `path` is a result file.
    """

    path: Path
    is_result: bool = True
    problem: str | None = None

    def __str__(self) -> str:
        kept = f"Rows of an earlier run that was killed were kept: {self.path}"
        if self.problem is None:
            return kept
        return f"{kept} ({self.problem})" if self.is_result else f"{self.path}: {self.problem}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    """The first line of a journal. Without `is_locked` it is of an earlier version, known by its process."""

    pid: int
    process_started: float
    document: dict[str, Any]
    is_locked: bool = False


@dataclass(slots=True, kw_only=True)
class _Contents:
    """What a journal says. `num_bad`: lines that are none of ours, but for a last one that was cut."""

    header: _Header
    rows: list[Document]
    closing: Closing | None
    num_bad: int


def recover_journals(folder: Path, *, complete: Callable[[Document], None]) -> list[Recovered]:
    """Make a result file of every journal in `folder` whose run is gone; return what became of each.

    `complete` fills in what only a whole set of rows can tell, as at the end of a run. A row that cannot be read or
    completed is left out; a journal that holds such rows, or cannot be read at all, is put aside under a name ending
    in `.unreadable`.
    """
    found = []
    for path in sorted(folder.glob(f"*{JOURNAL_SUFFIX}")):
        try:
            with _taken(path) as taken:
                found += [] if taken is None else _recover(path, *taken, complete=complete)
        except FileNotFoundError:
            continue  # another start recovered it meanwhile
        except OSError as error:
            problem = f"a journal that cannot be recovered ({error.strerror or error}); it was left where it is"
            found.append(Recovered(path=path, is_result=False, problem=problem))
        except CannotWriteError as error:
            found.append(Recovered(path=path, is_result=False, problem=f"its rows wait there: {error}"))
    return found


@contextmanager
def _taken(path: Path) -> Iterator[tuple[int, bool] | None]:
    """The journal, open, and whether it is locked; None if a run has it, or if it is no file."""
    if not stat.S_ISREG(path.lstat().st_mode):
        yield None
        return
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        try:
            is_locked = lock(descriptor, waits=False)
        except BlockingIOError:
            yield None
        else:
            yield (descriptor, is_locked) if is_still_at(descriptor, path) else None
    finally:
        os.close(descriptor)


def _recover(path: Path, descriptor: int, is_locked: bool, *, complete: Callable[[Document], None]) -> list[Recovered]:
    """What becomes of a journal that nobody else has."""
    if os.fstat(descriptor).st_size == 0:
        if is_locked:  # else its run may be about to write
            path.unlink()
        return []
    try:
        contents = _read(path)
    except OSError:
        raise
    except Exception as error:  # whatever a stranger's file does to a reader, it ends no run
        return [_put_aside(path, f"a journal that cannot be read was put aside ({error})")]
    if not (is_locked and contents.header.is_locked) and _is_alive(contents.header):
        return []
    if not contents.rows or (contents.closing is not None and contents.closing.is_written()):
        return _drop(path, contents.num_bad)
    document = _completed(contents, complete)
    if document is None:
        return [_put_aside(path, "a journal of another version was put aside")]
    made = _write(path, descriptor, document)
    left = _drop(path, contents.num_bad)
    return [Recovered(path=made, problem=left[0].problem if left else None)]


def _read(path: Path) -> _Contents:
    """Raises: ValueError if the journal has no header of ours; OSError."""
    if (size := path.stat().st_size) > MAX_TEXT_BYTES:
        raise ValueError(f"must be at most {MAX_TEXT_BYTES} bytes, got {size}")
    complaints = Complaints(path=path, keeps_going=True)
    values: list[Any] = []
    is_last_bad = False
    for number, text in read_lines(path, complaints):
        try:
            is_last_bad = True
            value = parse_json(text)
            if not isinstance(value, dict):
                raise ValueError("must be an object")
            values.append(value)
            is_last_bad = False
        except ValueError as error:
            if not values:
                raise
            complaints.add(number, str(error))
    if not values:
        raise ValueError("no line of it is JSON")
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        is_cut = is_last_bad and file.read() != b"\n"
    closings = [value for value in values[1:] if set(value) == {CLOSING}]
    return _Contents(
        header=checked(values[0], _Header),
        rows=[value for value in values[1:] if set(value) != {CLOSING}],
        closing=checked(closings[-1][CLOSING], Closing) if closings else None,
        num_bad=len(complaints.left_out) - is_cut,
    )


def _completed(contents: _Contents, complete: Callable[[Document], None]) -> Document | None:
    """The result file of the rows that can be completed; those that cannot count as bad. None if none can."""

    def document_of(rows: list[Document]) -> Document | None:
        document = copy.deepcopy({**contents.header.document, "benchmarks": rows, "is_partial": True})
        try:
            complete(document)
        except Exception:  # rows of another version may lack anything
            return None
        return document

    document = document_of(contents.rows)
    if document is not None:
        return document
    good = [row for row in contents.rows if document_of([row]) is not None]
    contents.num_bad += len(contents.rows) - len(good)
    return document_of(good) if good else None


def _write(path: Path, descriptor: int, document: Document) -> Path:
    """Write the result file under a name that is free. Raises: CannotWriteError, OSError."""
    wanted = path.with_name(path.name.removesuffix(JOURNAL_SUFFIX) + PARTIAL_ENDING)
    result = next(one for one in names_beside(wanted) if not os.path.lexists(one))
    text = json_text(document)
    write_all(descriptor, b"\n" + json.dumps(closing_line(result, text)).encode() + b"\n")
    write_text(result, text)
    return result


def _drop(path: Path, num_bad: int) -> list[Recovered]:
    """Forget a journal whose rows stand elsewhere, and what was half written beside it; one with lines that could not
    be read is kept aside.
    """
    stem = path.name.removesuffix(JOURNAL_SUFFIX)
    for written in (path.with_name(f"{stem}.json"), path.with_name(stem + PARTIAL_ENDING)):
        for half in dead_partials(written):
            half.unlink(missing_ok=True)
    if not num_bad:
        path.unlink()
        return []
    lines = f"{num_bad} {'line' if num_bad == 1 else 'lines'}"
    aside = _aside(path)
    problem = f"{lines} of its journal could not be read, which was put aside: {aside.name}"
    return [Recovered(path=aside, is_result=False, problem=problem)]


def _put_aside(path: Path, problem: str) -> Recovered:
    return Recovered(path=_aside(path), is_result=False, problem=problem)


def _aside(path: Path) -> Path:
    """Rename a journal so that nothing takes it for one again; return its new name, which was free."""
    wanted = path.with_name(path.name + UNREADABLE_SUFFIX)
    free = next(one for one in names_beside(wanted) if not os.path.lexists(one))
    return path.rename(free)


def _is_alive(header: _Header) -> bool:
    """Whether a run that holds no lock is going on, by its process; one that waits to be reaped is not."""
    with suppress(psutil.Error, OverflowError, ValueError):
        process = psutil.Process(header.pid)
        is_same = abs(process.create_time() - header.process_started) < _SAME_START_S
        return is_same and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return False
