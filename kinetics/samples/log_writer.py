"""The log of a run: a header line with every setting, then one finished sample a line, on disk before the next one.

A process that dies leaves whole lines and at most one cut one, which a resumed run moves beside the log. A file that is
not a log of these settings stays as it was, to the byte. What the lines mean is what
`kinetics law` reads; `traces` parses it.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from kinetics.files.atomic import CannotWriteError, to_strict, writing
from kinetics.files.checked import shown
from kinetics.files.json_text import parse_json
from kinetics.files.lines import MAX_LINE_BYTES, DataFileError

SampleKey = tuple[str, int]
"""Problem id and trial."""

LOG_SCHEMA: Final = 1
NOT_COMPARED: Final = frozenset({"versions", "machine", "started_utc"})
"""Header fields that describe where a run happened; a resumed run may differ in them."""
_MAX_SHOWN: Final = 200
_SCHEMA_KEY: Final = "kinetics_log"
_HEADER_START: Final = b'{"kinetics_log": '


class LostWork(RuntimeError):  # noqa: N818 - it names what happened, not a bug
    """A run could not go on; everything finished is in its log."""

    exit_code = 1


class SampleLog:
    """An open log that only this process writes; `done` are the samples it held when opened.

    Use `create` or `resume`; closes as a context manager.
    """

    def __init__(self, path: Path, descriptor: int, *, done: frozenset[SampleKey], remarks: tuple[str, ...]) -> None:
        self.path, self.done, self.remarks = path, done, remarks
        self._descriptor = descriptor

    @classmethod
    def create(cls, path: Path, header: Mapping[str, Any]) -> SampleLog:
        """A new log with its header on disk.

        Raises: ValueError if there is such a file already; LostWork if it cannot be written.
        """
        if path.exists():
            raise ValueError(f"{path}: must not exist yet, got a log there; --resume finishes it")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        except OSError as error:
            raise CannotWriteError(
                f"{path}: cannot be made ({error.strerror}); choose another folder with --out"
            ) from error
        log = cls(path, _locked(path, descriptor), done=frozenset(), remarks=())
        log.append(header)
        return log

    @classmethod
    def resume(cls, path: Path, header: Mapping[str, Any]) -> SampleLog:
        """An existing log with the same settings, its cut last line moved to `<log>.remnant`; or else a new one.

        Raises: ValueError naming the first setting that differs; DataFileError for a file that is no log or a line that
        is no sample; CannotWriteError or LostWork if the file cannot be written.
        """
        try:
            descriptor = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return cls.create(path, header)
        except OSError as error:
            raise CannotWriteError(
                f"{path}: cannot be opened ({error.strerror}); choose another folder with --out"
            ) from error
        _locked(path, descriptor)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # reading a pipe would wait for a writer for ever
                raise DataFileError(f"{path}: must be a file, got a pipe or a device; choose another folder with --out")
            return cls._resumed(path, descriptor, header)
        except BaseException:
            os.close(descriptor)
            raise

    @classmethod
    def _resumed(cls, path: Path, descriptor: int, header: Mapping[str, Any]) -> SampleLog:
        lines = list(_lines(path, descriptor))
        cut = _cut_line(descriptor)
        if lines:
            _check_settings(path, dict(lines[0][1]), dict(header))
        elif cut and not _is_cut_header(cut):
            raise _no_log(path)
        done = _done(path, lines[1:])
        log = cls(path, descriptor, done=done, remarks=_move_cut_line(path, descriptor, cut))
        if not lines:
            log.append(header)
        return log

    def append(self, record: Mapping[str, Any]) -> None:
        """Put one line on disk: a finished sample, or the header of a new log.

        Raises: LostWork if it cannot be written; the log then ends with the line before.
        """
        data = (json.dumps(to_strict(record), allow_nan=False) + "\n").encode()
        size = os.lseek(self._descriptor, 0, os.SEEK_END)
        try:
            written = 0
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
            os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, size)
            raise LostWork(
                f"{self.path}: a sample cannot be written ({error.strerror}); those before it are safe: "
                "make room and run again with --resume"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._descriptor)


def _locked(path: Path, descriptor: int) -> int:
    """Two runs on one log would each write what the other lacks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise ValueError(f"{path}: must have one writer, got another run at work on it; wait for it") from None
    return descriptor


def _cut_line(descriptor: int) -> bytes:
    """What stands behind the last newline: a line that a dying process did not get to end."""
    last = b""
    for line in _raw_lines(descriptor):
        last = line
    return b"" if last.endswith(b"\n") else last


def _is_cut_header(cut: bytes) -> bool:
    """Whether a file of one unfinished line can be a log whose run died in its first write."""
    return cut.startswith(_HEADER_START) or _HEADER_START.startswith(cut)


def _move_cut_line(path: Path, descriptor: int, cut: bytes) -> tuple[str, ...]:
    """Move the cut line behind those of earlier resumed runs; it is beside the log before the log is shortened."""
    if not cut:
        return ()
    remnant = path.with_name(path.name + ".remnant")
    with writing(f"file {remnant}", remedy="make room and run again with --resume"), remnant.open("ab") as file:
        file.write(cut + b"\n")
        file.flush()
        os.fsync(file.fileno())
    os.ftruncate(descriptor, os.fstat(descriptor).st_size - len(cut))
    told = f"{path}: a last line that was cut after {len(cut)} bytes is in {remnant.name} now; its sample is made anew"
    return (told,)


def _raw_lines(descriptor: int) -> Iterator[bytes]:
    with open(descriptor, "rb", closefd=False) as file:
        file.seek(0)
        while line := file.readline(MAX_LINE_BYTES + 1):
            yield line


def _lines(path: Path, descriptor: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The whole lines."""
    for number, line in enumerate(_raw_lines(descriptor), start=1):
        if len(line) > MAX_LINE_BYTES:
            raise DataFileError(f"{path}:{number}: line must be at most {MAX_LINE_BYTES} bytes, got more")
        if not line.endswith(b"\n"):
            return
        try:
            record = parse_json(line)
        except ValueError as error:
            raise DataFileError(f"{path}:{number}: line must be JSON, got {error}; mend it before --resume") from None
        if not isinstance(record, dict):
            raise DataFileError(f"{path}:{number}: line must be a JSON object, got {type(record).__name__}")
        yield number, record


def _done(path: Path, lines: list[tuple[int, Mapping[str, Any]]]) -> frozenset[SampleKey]:
    done: dict[SampleKey, int] = {}
    for number, record in lines:
        name, trial = record.get("problem_id"), record.get("trial")
        if not isinstance(name, str) or type(trial) is not int:
            told = f"{shown(name)} and {shown(trial)}"
            raise DataFileError(f"{path}:{number}: sample must have problem_id and trial, got {told}")
        if (name, trial) in done:
            first = done[name, trial]
            raise DataFileError(f"{path}:{number}: samples must be there once, got {name} trial {trial} in {first} too")
        done[name, trial] = number
    return frozenset(done)


def _no_log(path: Path) -> DataFileError:
    return DataFileError(
        f"{path}: must be a log of `kinetics generate`, got another file, which stays as it is; "
        "choose another folder with --out"
    )


def _check_settings(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    if _SCHEMA_KEY not in found:
        raise _no_log(path)
    there, here = (_flat(header) for header in (found, json.loads(json.dumps(to_strict(wanted)))))
    for name in dict.fromkeys([*here, *there]):
        must_be, got = there.get(name), here.get(name)
        if must_be != got:
            raise ValueError(
                f"--resume needs the settings of {path}: {name} must be {repr(must_be)[:_MAX_SHOWN]}, "
                f"got {repr(got)[:_MAX_SHOWN]}; run with that, or into another folder with --out"
            )


def _flat(header: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of a nested header by dotted name, without what may differ."""
    flat: dict[str, Any] = {}
    for key, value in header.items():
        if not prefix and key in NOT_COMPARED:
            continue
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
