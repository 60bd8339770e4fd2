"""Result files as things to compare: whose they are, and which of their rows can be trusted to mean what they say.

Reads what `kinetics.results.store` accepts and checks every value that is used later; files come from other people's
machines. Knows nothing of matching, ratios or pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final

import msgspec

from kinetics.files.checked import BrokenValueError, checked
from kinetics.files.lines import DataFileError
from kinetics.files.reading import read_text
from kinetics.results.row import ResultRow, read_row, row_name
from kinetics.results.store import Document, read_result
from kinetics.specs.hardware import find_accelerator, match_device
from kinetics.specs.identity import DeviceIdentity, identity_of

MAX_FRACTION_OF_CEILING: Final = 1.1
"""Beyond it a row's data stayed in a cache, or the ceiling was measured on a busy machine."""


class Origin(Enum):
    """Who measured: this suite, on the machine named in the file; or somebody whose figures were imported."""

    MEASURED = "measured"
    PUBLISHED = "published"


class UnusedKind(Enum):
    """Why something in a file takes no part."""

    ONLY_HERE = "only here"
    SKIPPED = "skipped"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusedRow:
    """A row or case of one file that was not compared, and why."""

    file: str
    kind: UnusedKind
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFile:
    """One result file. `label` is a letter, unique among the files read together, and the device.

    `ceilings` is empty where none are known.
    """

    path: Path
    label: str
    device: str
    identity: DeviceIdentity
    origin: Origin
    commit: str
    started_utc: str
    grid: str
    source: str
    ceilings: Mapping[str, Any]
    data_sheet_bytes_per_s: float | None
    versions: Mapping[str, str]
    rows: tuple[ResultRow, ...]
    left_out: tuple[UnusedRow, ...]
    notes: tuple[str, ...]

    @property
    def letter(self) -> str:
        """The part of the label that tells it from the other files."""
        return self.label.split(" ", 1)[0]

    @property
    def ceiling_kind(self) -> str:
        """Whether fractions are of a measured ceiling or of a data sheet's figure."""
        return "measured" if self.origin is Origin.MEASURED else "data sheet"


def read_result_files(paths: Sequence[Path]) -> list[ResultFile]:
    """Every file, in order, under labels that tell them apart.

    Raises: DataFileError naming the file that is no result file of this schema or has no usable row.
    """
    return [_relabel(_read(path), _letters(index)) for index, path in enumerate(paths)]


def is_gate_file(path: Path) -> bool:
    """Whether a file is one of `kinetics gate` or its self-test: rounds of one verdict, no rows to compare."""
    try:
        return '"gate"' in read_text(path) and read_result(path).get("kind") == "gate"
    except DataFileError:  # for the reader of result files to name
        return False


def _letters(index: int) -> str:
    """A, B, ..., Z, AA, AB, ... as spreadsheets count."""
    before = _letters(index // 26 - 1) if index >= 26 else ""
    return before + chr(ord("A") + index % 26)


def _relabel(file: ResultFile, letters: str) -> ResultFile:
    label = f"{letters} {file.label}"
    return replace(file, label=label, left_out=tuple(replace(item, file=label) for item in file.left_out))


class _Commit(msgspec.Struct):
    id: str | None = None
    dirty: bool | None = None


class _Machine(msgspec.Struct):
    device: str | None = None
    device_slug: str | None = None
    ceilings: dict[str, Any] = {}
    versions: dict[str, str | None] = {}


class _Skip(msgspec.Struct):
    name: str = ""
    reason: str = ""


class _Header(msgspec.Struct):
    """What is read of a file besides its rows. Anything may be missing."""

    machine_info: _Machine = msgspec.field(default_factory=_Machine)
    commit_info: _Commit = msgspec.field(default_factory=_Commit)
    origin: str = Origin.MEASURED.value
    started_utc: str | None = None
    grid: str | None = None
    source: str | None = None
    is_partial: bool = False
    skipped: list[_Skip] = []


def _read(path: Path) -> ResultFile:
    document = read_result(path)
    try:
        header = checked(document, _Header)
    except BrokenValueError as error:
        raise DataFileError(f"{path}: {error}; measure again") from None
    machine = header.machine_info
    identity = identity_of(document.get("machine_info", {}))
    device = identity.name or path.parent.name
    rows, invalid = _read_rows(document, device)
    if not rows:
        raise DataFileError(f"{path}: a result file must hold a usable row, got {len(invalid)} rows that are not")
    origin = Origin.PUBLISHED if header.origin == Origin.PUBLISHED.value else Origin.MEASURED
    return ResultFile(
        path=path,
        label=f"{device} (published)" if origin is Origin.PUBLISHED else identity.title or device,
        device=device,
        identity=identity,
        origin=origin,
        commit=header.commit_info.id or "",
        started_utc=header.started_utc or "",
        grid=header.grid or "",
        source=header.source or "",
        ceilings={name: value for name, value in machine.ceilings.items() if _is_rate(value)},
        data_sheet_bytes_per_s=_data_sheet_bytes_per_s(device, origin),
        versions={name: version for name, version in machine.versions.items() if version},
        rows=tuple(rows),
        left_out=(*invalid, *(_unused(skip, device) for skip in header.skipped)),
        notes=tuple(_notes(header, identity)),
    )


def _unused(skip: _Skip, file: str) -> UnusedRow:
    return UnusedRow(file=file, kind=UnusedKind.SKIPPED, name=skip.name.split("::")[-1], reason=skip.reason)


def _notes(header: _Header, identity: DeviceIdentity) -> list[str]:
    notes = ["rebuilt from the journal of a run that was killed"] if header.is_partial else []
    if header.commit_info.dirty:
        notes.append("measured on a source tree with uncommitted changes")
    if identity.missing:
        notes.append(f"identity incomplete: the file does not tell {', '.join(identity.missing)}")
    return notes


def _read_rows(document: Document, file: str) -> tuple[list[ResultRow], list[UnusedRow]]:
    rows: dict[tuple[Any, ...], ResultRow] = {}
    invalid = []
    for number, bench in enumerate(document["benchmarks"]):
        name = row_name(bench) or f"row {number}"
        try:
            row = read_row(bench, name=name)
            if row.case_key in rows:
                raise ValueError(f"a case must stand once in a file, got it as {rows[row.case_key].name} too")
        except ValueError as error:
            invalid.append(UnusedRow(file=file, kind=UnusedKind.INVALID, name=name, reason=str(error)))
            continue
        rows[row.case_key] = row
    return list(rows.values()), invalid


def _data_sheet_bytes_per_s(device: str, origin: Origin) -> float | None:
    """What the maker promises; a published file names the table's row itself, a driver its device."""
    if origin is Origin.MEASURED:
        found = match_device(device)
        return found.memory_bytes_per_s if found else None
    try:
        return find_accelerator(device).memory_bytes_per_s
    except ValueError:
        return None


def _is_rate(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e300
