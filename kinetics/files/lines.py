"""Lines of untrusted data files: size, encoding, and errors that name file and line.

Knows nothing of what the lines mean. Every reader goes through `read_lines`, so that a gigabyte line, a
stray byte or a cut file ends in one message and not in a dead process.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kinetics.files.reading import DataFileError as DataFileError
from kinetics.files.reading import open_data

MAX_LINE_BYTES: Final = 64 * 2**20
"""Longest line accepted: 30,768 tokens of text are about 100 kB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedLine:
    """A line that was left out, and why."""

    path: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}"


@dataclass(slots=True, kw_only=True)
class Complaints:
    """What to do with a bad line: raise, or list it and go on."""

    path: Path
    keeps_going: bool
    left_out: list[SkippedLine] = field(default_factory=list)

    def add(self, line: int, reason: str) -> None:
        """Record a bad line.

        Raises: DataFileError unless told to keep going.
        """
        complaint = SkippedLine(path=str(self.path), line=line, reason=reason)
        if not self.keeps_going:
            raise DataFileError(f"{complaint}; --keep-going leaves such lines out")
        self.left_out.append(complaint)


def read_lines(path: Path, complaints: Complaints) -> Iterator[tuple[int, str]]:
    """(line number, text) of every line that is not blank, without its newline.

    Raises: DataFileError if the file cannot be opened; on a line that is too long or not UTF-8 unless complaints
    are only listed.
    """
    with open_data(path) as file:
        number = 0
        while raw := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(raw) > MAX_LINE_BYTES:
                complaints.add(number, f"line must be at most {MAX_LINE_BYTES} bytes, got more")
                _skip_line(file.readline, path)
                continue
            try:
                text = raw.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                complaints.add(number, f"line must be UTF-8, got byte {raw[error.start]:#04x} at offset {error.start}")
                continue
            if text.strip():
                yield number, text


def _skip_line(readline: Callable[[int], bytes], path: Path) -> None:
    """Read to the end of a line.

    Raises: DataFileError if it has none for sixteen times the longest that is accepted: a device, say.
    """
    for _ in range(16):
        chunk = readline(MAX_LINE_BYTES)
        if not chunk or chunk.endswith(b"\n"):
            return
    raise DataFileError(f"{path}: must have lines, got {16 * MAX_LINE_BYTES} bytes without one; is it the right file?")
