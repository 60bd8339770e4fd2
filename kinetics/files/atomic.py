"""Files written whole or not at all, and values as strict JSON."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from enum import Enum
from glob import escape
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

_MAX_STEM: Final = 80


class CannotWriteError(ValueError):
    """A file or folder cannot be written; the message names it."""

    exit_code = 3


@contextmanager
def writing(what: str, *, remedy: str = "choose another") -> Iterator[None]:
    """Within it, what the system says against writing becomes one line about `what`.

    Raises: CannotWriteError.
    """
    try:
        yield
    except OSError as error:
        raise CannotWriteError(f"{what} cannot be written ({error.strerror or error}); {remedy}") from error
    except UnicodeEncodeError as error:
        raise CannotWriteError(f"{what} cannot be written (its name is not UTF-8); {remedy}") from error


def write_text(path: Path, text: str, *, remedy: str = "choose another file") -> None:
    """Write a file so that it is at every moment the old one or the new one, never half of either.

    Devices and pipes, such as /dev/stdout, are written into. `remedy`: what an error says to do.

    Raises: CannotWriteError naming the file.
    """
    with writing(f"file {path}", remedy=remedy):
        if not path.name or path.is_dir():
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
            return
        with written_aside(path) as partial, partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def check_can_write(path: Path | None) -> None:
    """Make a file's folder and prove that something can be written there: before minutes of work that end in it.

    Raises: CannotWriteError naming the file.
    """
    if path is None:
        return
    with writing(f"file {path}", remedy="choose another file"):
        if not path.name or path.is_dir():
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = _partial(path)
        partial.touch()
        partial.unlink()


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A place beside a file to write it to, which takes the file's place at the end; nothing stays if writing fails."""
    partial = _partial(path)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_texts(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write files into a folder, each at once; all are written aside before the first one is replaced.

    Raises: CannotWriteError naming the folder.
    """
    with writing(f"output folder {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            for name, text in texts.items():
                stack.enter_context(written_aside(folder / name)).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


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
    """Write strict JSON, as `write_text` does.

    Raises: CannotWriteError naming the file.
    """
    write_text(path, json_text(document))


def json_text(document: Mapping[str, Any]) -> str:
    """A document as the strict JSON that `write_json` writes."""
    return json.dumps(to_strict(document), indent=1, allow_nan=False) + "\n"


def _partial(path: Path) -> Path:
    """A name that no other process writes to: those of two containers may have one id.

    The ending says the format to whoever draws a figure there; that of a result file is left out, so that nothing that
    lists such files takes a half for one.
    """
    ending = "" if path.suffix == ".json" else path.suffix[:20]
    return path.with_name(f".{path.stem[:_MAX_STEM]}.{os.getpid()}-{token_hex(4)}.partial{ending}")


def dead_partials(path: Path) -> list[Path]:
    """What writers of a JSON file left aside who did not get to its end; for whoever knows that none is at work."""
    if len(path.stem) > _MAX_STEM:
        return []
    return sorted(path.parent.glob(f".{escape(path.stem)}.*.partial"))
