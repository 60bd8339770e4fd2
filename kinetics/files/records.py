"""Tables of named columns: CSV with a header, or JSON lines with the same columns as keys."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kinetics.files.json_text import check_encodable, parse_json
from kinetics.files.lines import Complaints, DataFileError, read_lines

TRUTHS = {"1": True, "true": True, "0": False, "false": False}
"""How tables say yes and no, in lower case."""


def read_records(path: Path, complaints: Complaints, columns: Sequence[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """(line number, values by column) of every row, values as text; further columns are kept.

    Raises: DataFileError if a column is missing, or a row is broken and complaints are not only listed.
    """
    lines = read_lines(path, complaints)
    number, first = next(lines, (0, ""))
    if first.lstrip().startswith("{"):
        yield from _json_records(path, number, first, lines, complaints, columns)
        return
    names = _fields(first)
    _check_columns(path, names, columns)
    for line, text in lines:
        # One row a line: a quoted line break is not needed for numbers, and would hide where a bad row is.
        try:
            values = _fields(text)
        except csv.Error as error:
            complaints.add(line, f"row must be CSV, got {error}")
            continue
        if len(values) != len(names):
            complaints.add(line, f"row must have {len(names)} fields, got {len(values)}")
            continue
        yield line, dict(zip(names, values, strict=True))


def has_columns(path: Path, columns: Sequence[str]) -> bool:
    """Whether a file's first line is a JSON object with all these keys."""
    _, first = next(read_lines(path, Complaints(path=path, keeps_going=True)), (0, ""))
    try:
        record = parse_json(first)
    except ValueError:
        return False
    return isinstance(record, dict) and set(columns) <= record.keys()


def _fields(line: str) -> list[str]:
    return next(csv.reader([line], strict=True), [])


def _check_columns(path: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    missing = [column for column in wanted if column not in found]
    if missing:
        raise DataFileError(f"{path}:1: table must have columns {', '.join(wanted)}, got none named {missing[0]}")


def _json_records(
    path: Path,
    number: int,
    first: str,
    others: Iterator[tuple[int, str]],
    complaints: Complaints,
    columns: Sequence[str],
) -> Iterator[tuple[int, Mapping[str, str]]]:
    for line, text in _chained((number, first), others):
        try:
            record = _record(text)
        except ValueError as error:
            complaints.add(line, f"row must be a JSON object of plain values, got {error}")
            continue
        if line == number:
            _check_columns(path, list(record), columns)
        missing = [column for column in columns if column not in record]
        if missing:
            complaints.add(line, f"row must have columns {', '.join(columns)}, got none named {missing[0]}")
            continue
        yield line, record


def _chained(first: tuple[int, str], others: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    yield first
    yield from others


def _record(text: str) -> dict[str, str]:
    record = parse_json(text)
    if not isinstance(record, dict):
        raise ValueError(type(record).__name__)
    return {name: _text(name, value) for name, value in record.items()}


def _text(name: str, value: Any) -> str:
    """A value as CSV would hold it: 7.0, as tables with gaps have it, is 7."""
    if isinstance(value, dict | list):
        raise ValueError(f"a {type(value).__name__} as {name[:40]}")
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return check_encodable(value, name[:40])
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
