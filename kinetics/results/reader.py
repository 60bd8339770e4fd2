"""Result files as things to compare: whose they are, and which of their rows can be trusted to mean what they say.

Reads what `kinetics.results.store` accepts and checks every value that is used later; files come from other people's
machines. Knows nothing of matching, ratios or pictures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final

from kinetics.files.lines import DataFileError
from kinetics.results.store import Document, read_result
from kinetics.specs.counts import short
from kinetics.specs.hardware import find_accelerator, match_device

CASE_FIELDS: Final = (
    "operation", "provider", "model", "num_layers", "num_q_heads", "num_kv_heads", "head_dim", "batch", "context_len",
    "kv_budget", "page_size", "kv_layout", "dtype", "cache_state", "graph",
)  # fmt: skip
"""What makes two rows the same case. Names do not: they leave out what a grid happens to hold constant."""

_COUNT_FIELDS: Final = (
    "num_layers", "num_q_heads", "num_kv_heads", "head_dim", "batch", "context_len", "kv_budget", "page_size",
    "claims", "models", "questions", "trials", "kv_budgets", "costs", "answers", "chars",
)  # fmt: skip
_LAW_COUNTS: Final = _COUNT_FIELDS[8:]
_NUMBER_FIELDS: Final = (
    "minimum_bytes", "flop", "predicted_s", "calibrated_s", "measured_over_predicted", "achieved_bytes_per_s",
    "ceiling_bytes_per_s", "fraction_of_ceiling", "predicted_roof_s", "full_model_s", "tokens_per_s", "max_abs_error",
    "joules_per_call", "joules_per_token",
)  # fmt: skip
_TEXT_FIELDS: Final = (
    "operation", "provider", "provider_version", "model", "kv_layout", "dtype", "cache_state", "calibration_role",
    "case", "predicted_bound",
)  # fmt: skip
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
class ResultRow:
    """One usable row: its fields, the median of its samples, and the samples themselves (seconds per call)."""

    name: str
    fields: Mapping[str, Any]
    median_s: float
    iqr_s: float
    samples_s: tuple[float, ...]

    @property
    def case_key(self) -> tuple[Any, ...]:
        """Equal exactly for rows that measured the same case, whatever they are called."""
        return tuple(self.fields.get(name) for name in (*CASE_FIELDS, *_LAW_COUNTS))

    @property
    def is_kernel_or_step(self) -> bool:
        """Whether the row moved bytes on a device; rows of the law time arithmetic on a host."""
        return self.fields.get("minimum_bytes") is not None and self.fields.get("predicted_s") is not None

    @property
    def shows_spread(self) -> bool:
        """Whether there is more than one sample."""
        return len(self.samples_s) > 1

    @property
    def model_or_heads(self) -> str | None:
        """The model, or its head shapes where only these are known: `32/8x128`; None for rows that have neither."""
        fields = self.fields
        if fields.get("model") or not self.is_kernel_or_step:
            return fields.get("model")
        return f"{fields.get('num_q_heads')}/{fields.get('num_kv_heads')}x{fields.get('head_dim')}"

    @property
    def label(self) -> str:
        """What was done, provider apart: `dense Qwen3-8B b4 c8k`."""
        fields = self.fields
        parts = [str(fields["operation"]), *([self.model_or_heads] if self.model_or_heads else [])]
        for letter, name in (("b", "batch"), ("c", "context_len"), ("k", "kv_budget"), ("l", "num_layers")):
            parts += [f"{letter}{short(fields[name])}"] if fields.get(name) is not None else []
        return " ".join(parts + (["warm"] if fields.get("cache_state") == "warm" else []))


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFile:
    """One result file. `label` is a letter, unique among the files read together, and the device.

    `ceilings` is empty where none are known.
    """

    path: Path
    label: str
    device: str
    device_slug: str
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
        return read_result(path).get("kind") == "gate"
    except ValueError:  # for the reader of result files to name
        return False


def _letters(index: int) -> str:
    """A, B, ..., Z, AA, AB, ... as spreadsheets count."""
    before = _letters(index // 26 - 1) if index >= 26 else ""
    return before + chr(ord("A") + index % 26)


def _relabel(file: ResultFile, letters: str) -> ResultFile:
    label = f"{letters} {file.label}"
    return replace(file, label=label, left_out=tuple(replace(item, file=label) for item in file.left_out))


def _read(path: Path) -> ResultFile:
    try:
        document = read_result(path)
    except ValueError as error:
        raise DataFileError(str(error)) from error
    machine = _mapping(document.get("machine_info"))
    device = _text(machine.get("device")) or path.parent.name
    rows, invalid = _read_rows(document, device)
    if not rows:
        raise DataFileError(f"{path}: a result file must hold a usable row, got {len(invalid)} rows that are not")
    origin = Origin.PUBLISHED if document.get("origin") == Origin.PUBLISHED.value else Origin.MEASURED
    skipped = document.get("skipped")
    skips = [skip for skip in skipped if isinstance(skip, Mapping)] if isinstance(skipped, list) else []
    return ResultFile(
        path=path,
        label=f"{device} (published)" if origin is Origin.PUBLISHED else device,
        device=device,
        device_slug=_text(machine.get("device_slug")) or path.parent.name,
        origin=origin,
        commit=_text(_mapping(document.get("commit_info")).get("id")),
        started_utc=_text(document.get("started_utc")),
        grid=_text(document.get("grid")),
        source=_text(document.get("source")),
        ceilings={key: value for key, value in _mapping(machine.get("ceilings")).items() if _is_number(value)},
        data_sheet_bytes_per_s=_data_sheet_bytes_per_s(device, origin),
        versions={str(key): _text(value) for key, value in _mapping(machine.get("versions")).items()},
        rows=tuple(rows),
        left_out=(*invalid, *(_skip(skip, device) for skip in skips)),
        notes=tuple(_notes(document)),
    )


def _skip(skip: Mapping[str, Any], file: str) -> UnusedRow:
    name = _text(skip.get("name")).split("::")[-1]
    return UnusedRow(file=file, kind=UnusedKind.SKIPPED, name=name, reason=_text(skip.get("reason")))


def _notes(document: Document) -> list[str]:
    notes = ["rebuilt from the journal of a run that was killed"] if document.get("is_partial") else []
    if _mapping(document.get("commit_info")).get("dirty"):
        notes.append("measured on a source tree with uncommitted changes")
    return notes


def _read_rows(document: Document, file: str) -> tuple[list[ResultRow], list[UnusedRow]]:
    rows: dict[tuple[Any, ...], ResultRow] = {}
    invalid = []
    for number, bench in enumerate(document["benchmarks"]):
        name = _name(bench) or f"row {number}"
        try:
            row = _read_row(name, _mapping(bench))
            if row.case_key in rows:
                raise ValueError(f"a case must stand once in a file, got it as {rows[row.case_key].name} too")
        except ValueError as error:
            invalid.append(UnusedRow(file=file, kind=UnusedKind.INVALID, name=name, reason=str(error)))
            continue
        rows[row.case_key] = row
    return list(rows.values()), invalid


def _read_row(name: str, bench: Mapping[str, Any]) -> ResultRow:
    """Raises: ValueError naming the field that cannot be used."""
    fields, stats = _mapping(bench.get("extra_info")), _mapping(bench.get("stats"))
    if not isinstance(fields.get("operation"), str):
        raise ValueError(f"operation must be text, got {_shown(fields.get('operation'))}")
    for field in _COUNT_FIELDS:
        if not (fields.get(field) is None or (type(fields[field]) is int and fields[field] > 0)):
            raise ValueError(f"{field} must be a count above 0, got {_shown(fields[field])}")
    for field in _NUMBER_FIELDS:
        if not (fields.get(field) is None or (_is_number(fields[field]) and fields[field] >= 0)):
            raise ValueError(f"{field} must be a finite number of at least 0, got {_shown(fields[field])}")
    if not isinstance(fields.get("graph"), bool | None):
        raise ValueError(f"graph must be true or false, got {_shown(fields['graph'])}")
    for field in _TEXT_FIELDS:
        if not (fields.get(field) is None or isinstance(fields[field], str)):
            raise ValueError(f"{field} must be text, got {_shown(fields[field])}")
    median_s = fields.get("median_s", stats.get("median"))
    if not (_is_number(median_s) and median_s > 0):
        raise ValueError(f"median_s must be above 0, got {_shown(median_s)}")
    samples = stats.get("data")
    samples_s = tuple(samples) if isinstance(samples, list) else ()
    if not all(_is_number(sample) and sample > 0 for sample in samples_s):
        raise ValueError("samples must all be above 0, got one that is not")
    iqr_s = stats.get("iqr") if _is_number(stats.get("iqr")) else 0.0
    return ResultRow(
        name=name, fields=fields, median_s=float(median_s), iqr_s=float(iqr_s or 0.0),
        samples_s=samples_s,
    )  # fmt: skip


def _name(bench: Any) -> str:
    fields = _mapping(_mapping(bench).get("extra_info"))
    return _text(fields.get("case")) or _text(_mapping(bench).get("name"))


def _data_sheet_bytes_per_s(device: str, origin: Origin) -> float | None:
    """What the maker promises; a published file names the table's row itself, a driver its device."""
    if origin is Origin.MEASURED:
        found = match_device(device)
        return found.memory_bytes_per_s if found else None
    try:
        return find_accelerator(device).memory_bytes_per_s
    except ValueError:
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:  # JSON knows no largest integer
        return False


def _shown(value: Any) -> str:
    return repr(value)[:40]
