"""Predicted steps as tables for people and as plain values for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from kinetics.prediction.silicon import Timing
from kinetics.prediction.step_silicon import is_roof_only
from kinetics.prediction.step_sweep import USABLE_FRACTION, Sweep, SweepRow
from kinetics.specs.counts import short
from kinetics.specs.units import GIBI
from kinetics.tables.display import Column
from kinetics.tables.quantity import Quantity, show
from kinetics.tables.table import Table

SHARED: Final = ("device", "num_devices", "attention", "batch", "context_len")
"""Columns that say little where they say the same in every row."""
SWEEP_COLUMNS: Final = {
    column.name: column
    for column in (
        Column(name="num_devices", quantity=Quantity.COUNT, heading="tp"),
        Column(name="batch", quantity=Quantity.COUNT),
        Column(name="context_len", quantity=Quantity.TOKENS, heading="context"),
        Column(name="step_s", quantity=Quantity.SECONDS, heading="step"),
        Column(name="band", quantity=Quantity.PERCENT, heading="within"),
        Column(name="tokens_per_s", quantity=Quantity.TOKENS_PER_S, heading="tokens/s"),
        Column(name="required_bytes", quantity=Quantity.BYTES, heading="memory"),
        Column(name="fits", heading="fits/to"),
        Column(name="dollars_per_million_tokens", quantity=Quantity.NUMBER, heading="$/M tokens"),
        Column(name="dollars_per_right_answer", quantity=Quantity.NUMBER, heading="$/right answer"),
    )
}
PART_COLUMNS: Final = {
    column.name: column
    for column in (
        Column(name="count", quantity=Quantity.COUNT),
        Column(name="each_s", quantity=Quantity.SECONDS, heading="each"),
        Column(name="total_s", quantity=Quantity.SECONDS, heading="total"),
        Column(name="fraction", quantity=Quantity.SHARE, heading="share"),
        Column(name="error", quantity=Quantity.SHARE, heading="within"),
    )
}
_MOST_MISFITS: Final = 4
"""More steps that do not fit are counted, not listed."""


def row_values(row: SweepRow, *, tokens_per_answer: float = 0.0, accuracy: float = 0.0) -> dict[str, Any]:
    """One row as plain values in base units; dollars only where a price is known."""
    values = {
        "device": row.device.name, "num_devices": row.num_devices, "attention": row.attention,
        "batch": row.query.batch, "context_len": row.query.context_len, "step_s": row.time.seconds,
        "low_s": row.time.low_s, "high_s": row.time.high_s, "tokens_per_s": row.tokens_per_s,
        "required_bytes": row.memory.num_bytes, "fits": row.fits, "largest_batch": row.largest_batch,
        "fitted_fraction": row.time.fitted_fraction, "extrapolated": row.time.is_extrapolated,
        "dollars_per_million_tokens": row.dollars_per_million_tokens,
    }  # fmt: skip
    if tokens_per_answer and accuracy:
        values["dollars_per_right_answer"] = row.dollars_per_right_answer(
            tokens_per_answer=tokens_per_answer, accuracy=accuracy
        )
    return values


def row_document(row: SweepRow, **answers: float) -> dict[str, Any]:
    """One row with its parts, for JSON."""
    parts = [
        {
            "part": part.name, "count": part.count, "each_s": part.timing.seconds, "total_s": part.seconds,
            "error": part.timing.error, "source": part.timing.source, "kernel": part.timing.kernel,
            "outside": list(part.timing.outside),
        }
        for part in row.time.parts
    ]  # fmt: skip
    return {
        **row_values(row, **answers),
        "usable_bytes": row.usable_bytes,
        "memory_bytes": dict(row.memory.parts),
        "remedy": None if row.fits else row.remedy(),
        "parts": parts,
    }


def sweep_table(rows: Sequence[SweepRow], **answers: float) -> Table:
    """All rows as one table, in base units."""
    records = [row_values(row, **answers) for row in rows]
    names = tuple(records[0])
    return Table(
        name="predicted_steps", columns=names, rows=tuple(tuple(one[name] for name in names) for one in records)
    )


def reading_table(rows: Sequence[SweepRow], **answers: float) -> Table:
    """All rows as people read them: what is extrapolated starred, the band in percent, fits with the largest batch."""
    records = [row_values(row, **answers) for row in rows]
    for record, row in zip(records, rows, strict=True):
        star = "*" if row.time.is_extrapolated else ""
        record["step_s"] = show(row.time.seconds, Quantity.SECONDS) + star
        record["band"] = _band(row)
        record["device"] = row.device.called
        record["fits"] = f"{'yes' if row.fits else 'no'}/{row.largest_batch:,}"
    names = [
        "device", "num_devices", "attention", "batch", "context_len", "step_s", "band", "tokens_per_s",
        "required_bytes", "fits", "dollars_per_million_tokens",
    ]  # fmt: skip
    names += [name for name in ("dollars_per_right_answer",) if name in records[0]]
    return Table(
        name="predicted_steps", columns=tuple(names), rows=tuple(tuple(one[key] for key in names) for one in records)
    )


def _band(row: SweepRow) -> str:
    """How far the ends of the band are from the step: one figure if they are as far."""
    low, high = (round(100 * abs(end / row.time.seconds - 1)) for end in (row.time.low_s, row.time.high_s))
    return f"\u00b1{high} %" if low == high else f"-{low} +{high} %"


def parts_table(row: SweepRow) -> Table:
    """Where the time of one step goes, the longest part first."""
    ordered = sorted(row.time.parts, key=lambda part: -part.seconds)
    return Table(
        name=f"{row.attention} attention on {row.num_devices} x {row.device.name}",
        columns=("part", "count", "each_s", "total_s", "fraction", "error", "source"),
        rows=tuple(
            (
                part.name, part.count, part.timing.seconds, part.seconds, part.seconds / row.time.seconds,
                part.timing.error, _source(part.timing),
            )
            for part in ordered
        ),
    )  # fmt: skip


def _source(timing: Timing) -> str:
    """Where a part's time comes from, and what of its shape no such kernel was measured at."""
    beyond = f" beyond its {', '.join(timing.outside)}" if timing.outside else ""
    return f"{timing.source}{beyond}" + (f": {timing.kernel}" if timing.kernel else "")


def misfits(rows: Sequence[SweepRow]) -> Iterator[str]:
    """What does not fit, by how much, and what would; of many, how many."""
    found = [row for row in rows if not row.fits]
    if len(found) > _MOST_MISFITS:
        yield f"{len(found)} of {len(rows)} steps; the column `fits` says up to which batch they would"
        return
    for row in found:
        yield (
            f"batch {row.query.batch} at {short(row.query.context_len)} on {row.num_devices} x {row.device.name} "
            f"({row.attention} attention): needs {row.memory}, has {row.usable_bytes / GIBI:.1f} GiB "
            f"({USABLE_FRACTION:.0%} of its memory) each; {row.remedy()}"
        )


def remarks(sweep: Sweep, rows: Sequence[SweepRow]) -> list[str]:
    """What a reader must know of these rows."""
    architecture = sweep.architecture
    notes = [
        f"{architecture.name}: {architecture.num_parameters / 1e9:,.1f} billion parameters, "
        f"{architecture.num_active_parameters / 1e9:,.1f} active; weights {sweep.weights or architecture.weights}, "
        f"cache {sweep.cache.name}; kernels of {sweep.framework} where they were measured."
    ]
    if architecture.left_out:
        notes.append(f"Left out: {', '.join(architecture.left_out)}.")
    if architecture.ignored_fields:
        notes.append(f"Counted without {', '.join(architecture.ignored_fields)}, as asked: bytes may differ.")
    roofs = list(dict.fromkeys(row.device.name for row in rows if is_roof_only(row.time)))
    if roofs:
        notes.append(f"Nothing was measured on {', '.join(roofs)}: its steps are lower bounds by data sheet.")
    shares = [row.time.fitted_fraction for row in rows if row.device.name not in roofs]
    if shares:
        notes.append(f"Fits of measured kernels stand behind {min(shares):.0%} of a step's time or more.")
    if any(row.time.is_extrapolated for row in rows):
        notes.append("*: extrapolated; a part of a twentieth of the step or more leaves the shapes that were measured.")
    notes.append(
        "Within: the root of the sum of squares of what 90 % of unseen rows kept within, part by part. "
        "Fits/to: whether this batch fits, and the largest that does."
    )
    return notes
