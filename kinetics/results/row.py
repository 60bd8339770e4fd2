"""One row of a result file: the benchmark entry checked field by field, and what it is called."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

from kinetics.files.checked import BrokenValueError, checked, shown
from kinetics.results.fields import CASE_FIELDS, check_fields
from kinetics.specs.counts import short

_Seconds = Annotated[float, msgspec.Meta(gt=0, le=1e300)]
_MIN_SPREAD_SAMPLES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One usable row: its fields, the median of its samples, and the samples themselves (seconds per call),
    sorted.

    `fields` holds what the file says; what its samples tell too, such as the median, is theirs.
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
    stated_s = fields.get("median_s", stats.median)
    if not stated_s:
        raise ValueError(f"median_s must be above 0, got {shown(stated_s)}")
    samples_s = sorted(stats.data)
    median_s = statistics.median(samples_s) if samples_s else float(stated_s)
    return ResultRow(
        name=name,
        fields={
            **fields,
            **(_of_median(fields, median_s) if samples_s else {}),
            "median_s": median_s,
            "iqr_fraction": _spread(stats.iqr, samples_s, median_s),
        },
        median_s=median_s,
        samples_s=tuple(samples_s),
    )


def _of_median(fields: Mapping[str, Any], median_s: float) -> dict[str, Any]:
    """What a row states besides its samples though they tell it, told by them; a field that is not stated stays so."""
    found = {}
    num_bytes, ceiling, predicted_s = (
        fields.get(name) for name in ("minimum_bytes", "ceiling_bytes_per_s", "predicted_s")
    )
    if num_bytes is not None:
        found["achieved_bytes_per_s"] = num_bytes / median_s
        if ceiling:
            found["fraction_of_ceiling"] = num_bytes / median_s / ceiling
    if predicted_s:
        found["measured_over_predicted"] = median_s / predicted_s
    return {name: value for name, value in found.items() if fields.get(name) is not None}


def _spread(iqr: float | None, samples_s: Sequence[float], median_s: float) -> float | None:
    """The interquartile range of sorted samples over the median, at most their range; None of a single sample."""
    if iqr is None or len(samples_s) < _MIN_SPREAD_SAMPLES:
        return None
    return min(max(0.0, iqr), samples_s[-1] - samples_s[0]) / median_s


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
