"""Rows of a run in progress, on disk before the next case starts, under a name that no other run can have.

A journal is locked while its run lives: whoever gets the lock knows that the run is gone, be it killed, waiting to be
reaped, or of another container. `kinetics.results.recovery` makes result files of what killed runs left.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any, Final

import psutil

from kinetics.files.atomic import json_text, to_strict, write_text, writing

JOURNAL_SUFFIX: Final = ".journal.jsonl"
PARTIAL_ENDING: Final = "_partial.json"
CLOSING: Final = "closing"
"""Key of the last line of a journal whose rows are about to stand in a file."""
_WITHOUT_LOCKS: Final = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL}
"""What file systems say that know no locks."""


class RowJournal:
    """Finished rows of the run in progress, one JSON line each, on disk before the next case starts.

    It is made under the name of the result file that it stands for or, where another run has that name, of the first
    free one beside it: `result`. The first line is the header: process id, the result file, and everything that file
    says besides its rows. A journal without one is empty, and holds nothing but the name.

    Raises: CannotWriteError naming the folder.
    """

    def __init__(self, result: Path) -> None:
        with writing(f"journal beside {result}", remedy="choose another folder"):
            self.result, self._descriptor, self._is_locked = _claim(result)
        self.path = journal_path(self.result)
        self.num_rows = 0
        self.has_header = False
        self._num_bytes = 0

    def start(self, header: Mapping[str, Any]) -> None:
        """Put the header on disk, everything that the result file says besides its rows. Raises: CannotWriteError."""
        identity = {"pid": os.getpid(), "process_started": psutil.Process().create_time(), "result": self.result.name}
        self._write({**identity, "is_locked": self._is_locked, "document": header})
        self.has_header = True

    def append(self, row: Mapping[str, Any]) -> None:
        """Put one finished row on disk, or nothing of it. Raises: CannotWriteError."""
        self._write(row)
        self.num_rows += 1

    def finish(self, path: Path, document: Mapping[str, Any]) -> None:
        """Write the file that the rows stand in, and forget the journal; whenever killed, they count once.

        Raises: CannotWriteError; the journal stays.
        """
        text = json_text(document)
        self._write(closing_line(path, text))
        write_text(path, text, remedy=self._remedy)
        self.discard()

    def discard(self) -> None:
        """Forget the journal: its rows stand in the result file, or there are none."""
        self.path.unlink(missing_ok=True)
        os.close(self._descriptor)

    @property
    def _remedy(self) -> str:
        rows = f"{self.num_rows} finished {'row is' if self.num_rows == 1 else 'rows are'} safe in {self.path.name}"
        return f"{rows}: make room and give `kinetics recover {self.path.parent}`"

    def _write(self, line: Mapping[str, Any]) -> None:
        data = (json.dumps(to_strict(line), allow_nan=False) + "\n").encode()
        with writing(f"journal {self.path}", remedy=self._remedy):
            try:
                write_all(self._descriptor, data)
            except OSError:
                os.ftruncate(self._descriptor, self._num_bytes)
                raise
        self._num_bytes += len(data)


def journal_path(result: Path) -> Path:
    """Where the journal of a result file lies: beside it."""
    return result.with_name(result.stem + JOURNAL_SUFFIX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """What a journal says last: which file takes its rows, and the digest by which it is known to have them."""

    path: str
    sha256: str

    def is_written(self) -> bool:
        """Whether the file is there, whole."""
        try:
            path = Path(self.path)
            if not path.is_file():
                return False
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except (OSError, ValueError):
            return False


def closing_line(path: Path, text: str) -> dict[str, Any]:
    """The line to write before the file is."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {CLOSING: asdict(Closing(path=str(path.absolute()), sha256=digest))}


def write_all(descriptor: int, data: bytes) -> None:
    """Append bytes to an open file and have them on disk. Raises: OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def names_beside(path: Path) -> Iterator[Path]:
    """The path itself, then `name-2`, `name-3` and so on, with its suffix."""
    return chain([path], (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(2)))


def lock(descriptor: int, *, waits: bool) -> bool:
    """Take the lock of an open file, which is held until it is closed; False if its file system has no locks.

    Raises: BlockingIOError if another holds it and this one does not wait.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _WITHOUT_LOCKS:
            raise
        return False
    return True


def is_still_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one at this path: not removed, renamed or replaced since it was opened."""
    try:
        there = path.lstat()
    except OSError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def _claim(result: Path) -> tuple[Path, int, bool]:
    """The first name that no run has, its journal open and locked, and whether there are locks."""
    for candidate in names_beside(result):
        path = journal_path(candidate)
        while (descriptor := _created(path)) is not None:
            is_locked = lock(descriptor, waits=True)
            if not is_still_at(descriptor, path):  # whoever recovers took it for a dead run's in between
                os.close(descriptor)
                continue
            if _is_free(candidate):
                return candidate, descriptor, is_locked
            path.unlink()
            os.close(descriptor)
            break
    raise AssertionError("names do not end")


def _created(path: Path) -> int | None:
    """A new file, open; None if the name is taken."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        return None


def _is_free(result: Path) -> bool:
    """Whether nothing has the name of the result file, of its tables, or of what recovery would make of it."""
    others = (result, result.with_suffix(""), result.with_name(result.stem + PARTIAL_ENDING))
    return not any(os.path.lexists(path) for path in others)
