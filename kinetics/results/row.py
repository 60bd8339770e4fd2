"""One row of a result file: the benchmark entry checked field by field, and what it is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from kinetics.files.checked import BrokenValueError, checked, shown
from kinetics.results.fields import CASE_FIELDS, check_fields
from kinetics.specs.counts import short

_Seconds = Annotated[float, msgspec.Meta(gt=0, le=1e300)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One usable row: its fields, the median of its samples, and the samples themselves (seconds per call).

    `fields` holds what the file says, and `median_s` and `iqr_fraction` whether it says them or its samples do.
    """

    name: str
    fields: Mapping[str, Any]
    median_s: float
    samples_s: tuple[float, ...]

    @property
    def case_key(self) -> tuple[Any, ...]:
        """Equal exactly for rows that measured the same case, whatever they are called."""
        known = {
            **self.fields,
            "kv_dtype": self.fields.get("kv_dtype") or self.fields.get("dtype"),
            "tp": self.fields.get("tp") or 1,
        }
        return tuple(known.get(name) for name in CASE_FIELDS)

    @property
    def is_kernel_or_step(self) -> bool:
        """Whether the row moved bytes on a device; rows of the law time arithmetic on a host."""
        return self.fields.get("minimum_bytes") is not None and self.fields.get("predicted_s") is not None

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
        parts += [f"tp{fields['tp']}"] if (fields.get("tp") or 1) > 1 else []
        return " ".join(parts + (["warm"] if fields.get("cache_state") == "warm" else []))


class _Stats(msgspec.Struct):
    """What is read of a benchmark's statistics."""

    data: list[_Seconds] = []
    median: _Seconds | None = None
    iqr: float | None = None


def read_row(bench: Any, *, name: str) -> ResultRow:
    """The row of one benchmark entry.

    Raises: ValueError naming the field that cannot be used.
    """
    entry = bench if isinstance(bench, dict) else {}
    fields = entry.get("extra_info")
    fields = fields if isinstance(fields, dict) else {}
    check_fields(fields)
    stats = _read_stats(entry.get("stats") or {})
    median_s = fields.get("median_s", stats.median)
    if not median_s:
        raise ValueError(f"median_s must be above 0, got {shown(median_s)}")
    spread = stats.iqr / median_s if stats.iqr is not None and len(stats.data) > 1 else None
    return ResultRow(
        name=name,
        fields={**fields, "median_s": median_s, "iqr_fraction": spread},
        median_s=float(median_s),
        samples_s=tuple(stats.data),
    )


def row_name(bench: Any) -> str:
    """The case of a benchmark entry, or its name; empty if it has neither."""
    entry = bench if isinstance(bench, dict) else {}
    fields = entry.get("extra_info")
    case = fields.get("case") if isinstance(fields, dict) else None
    return next((text for text in (case, entry.get("name")) if isinstance(text, str)), "")


def _read_stats(stats: Mapping[str, Any]) -> _Stats:
    try:
        return checked(stats, _Stats)
    except BrokenValueError as error:
        if error.where.startswith("data"):
            raise ValueError("samples must all be numbers above 0, got one that is not") from None
        raise ValueError(f"{error.where} of the samples must be a number, got {error.got}") from None
