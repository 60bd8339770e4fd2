"""Predicted steps as tables for people and as plain values for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from kinetics.prediction.step_silicon import is_roof_only
from kinetics.prediction.step_sweep import USABLE_FRACTION, Sweep, SweepRow
from kinetics.specs.counts import short
from kinetics.specs.units import GIBI
from kinetics.tables.display import Column
from kinetics.tables.quantity import Quantity
from kinetics.tables.table import Table

SWEEP_COLUMNS: Final = {
    column.name: column
    for column in (
        Column(name="num_devices", heading="tp"),
        Column(name="context_len", quantity=Quantity.TOKENS, heading="context"),
        Column(name="step_s", quantity=Quantity.SECONDS, heading="step"),
        Column(name="low_s", quantity=Quantity.SECONDS, heading="from"),
        Column(name="high_s", quantity=Quantity.SECONDS, heading="to"),
        Column(name="tokens_per_s", quantity=Quantity.TOKENS_PER_S, heading="tokens/s"),
        Column(name="required_bytes", quantity=Quantity.BYTES, heading="memory"),
        Column(name="fits", quantity=Quantity.FLAG),
        Column(name="largest_batch", quantity=Quantity.COUNT),
        Column(name="fitted_fraction", quantity=Quantity.SHARE, heading="fitted %"),
        Column(name="extrapolated", quantity=Quantity.FLAG),
        Column(name="dollars_per_million_tokens", quantity=Quantity.NUMBER, heading="$/M tokens"),
        Column(name="dollars_per_right_answer", quantity=Quantity.NUMBER, heading="$/right answer"),
    )
}
PART_COLUMNS: Final = {
    column.name: column
    for column in (
        Column(name="each_s", quantity=Quantity.SECONDS, heading="each"),
        Column(name="total_s", quantity=Quantity.SECONDS, heading="total"),
        Column(name="fraction", quantity=Quantity.SHARE, heading="of step %"),
        Column(name="error", quantity=Quantity.SHARE, heading="90 % within"),
        Column(name="outside", heading="beyond the fit in"),
    )
}


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


def parts_table(row: SweepRow) -> Table:
    """Where the time of one step goes, the longest part first."""
    ordered = sorted(row.time.parts, key=lambda part: -part.seconds)
    return Table(
        name=f"{row.attention} attention on {row.num_devices} x {row.device.name}",
        columns=("part", "count", "each_s", "total_s", "fraction", "error", "source", "kernel", "outside"),
        rows=tuple(
            (
                part.name, part.count, part.timing.seconds, part.seconds, part.seconds / row.time.seconds,
                part.timing.error, part.timing.source, part.timing.kernel, ", ".join(part.timing.outside),
            )
            for part in ordered
        ),
    )  # fmt: skip


def misfits(rows: Sequence[SweepRow]) -> Iterator[str]:
    """What does not fit, by how much, and what would."""
    for row in rows:
        if not row.fits:
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
    if any(row.time.is_extrapolated for row in rows):
        notes.append("Extrapolated: a part of a twentieth of the step or more leaves the shapes that were measured.")
    notes.append("From..to: the root of the sum of squares of what 90 % of unseen rows kept within, part by part.")
    return notes
