"""Files of strangers opened: plain or gzipped, UTF-8 with or without a byte order mark, never without an end.

What is in a file decides, not its name: a file that begins as gzip does is unpacked.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

MAX_TEXT_BYTES: Final = 2**28
"""Of a file that is read at once; a result file of two thousand rows takes a twentieth."""
_GZIP: Final = b"\x1f\x8b"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class DataFileError(ValueError):
    """A data file cannot be used; the message names file and line."""

    exit_code = 3


def read_text(path: Path, *, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """The whole text of a file.

    Raises: DataFileError naming the file if it cannot be read, is too large or is not UTF-8.
    """
    with open_data(path) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise DataFileError(f"{path}: must be at most {max_bytes} bytes, got more; is it the right file?")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataFileError(
            f"{path}: must be UTF-8, got byte {data[error.start]:#04x} at offset {error.start}; is it the right file?"
        ) from None


@contextmanager
def open_data(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked, behind its byte order mark.

    Raises: DataFileError naming the file if it cannot be opened, or breaks off while it is read.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.peek(2)[:2] == _GZIP
            data = io.BufferedReader(gzip.GzipFile(fileobj=raw)) if packed else raw
            if data.peek(3)[:3] == _BYTE_ORDER_MARK:
                data.read(3)
            yield cast(BinaryIO, data)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataFileError(f"{path}: must be a whole gzip file, got a broken one ({error}); copy it again") from None
    except OSError as error:
        raise DataFileError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        if "null byte" not in str(error):
            raise
        raise DataFileError(f"{str(path)!r}: cannot be read (a name with a null byte)") from None


def format_of(path: Path) -> str:
    """The ending of a file's name that says what is in it: `.csv` of `samples.CSV.gz`."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix
