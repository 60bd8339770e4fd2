"""Crossovers of sparse over dense on real GPUs as a table, made from pairs or read from the committed ones."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Final

from kinetics.results.sparse_silicon import SparsePair, crossovers_of
from kinetics.tables.display import Column
from kinetics.tables.quantity import Quantity
from kinetics.tables.table import Table

_NAMES: Final = (
    "pair", "device", "framework", "version", "weights", "batch", "measured_context_len", "predicted_context_len",
    "farthest_speedup", "measured_note", "predicted_note",
)  # fmt: skip
CROSSOVER_COLUMNS: Final = {
    column.name: column
    for column in (
        Column(name="batch", quantity=Quantity.COUNT),
        Column(name="measured_context_len", quantity=Quantity.COUNT, heading="measured from"),
        Column(name="predicted_context_len", quantity=Quantity.COUNT, heading="predicted from"),
        Column(name="farthest_speedup", quantity=Quantity.SPEEDUP, heading="x at the longest"),
        Column(name="measured_note", heading="measured: pays"),
        Column(name="predicted_note", heading="predicted: pays"),
    )
}


def crossover_table(pairs: Sequence[SparsePair]) -> Table:
    """One row a pair and batch: from which context on sparse pays, measured and predicted."""
    rows = tuple(
        (
            pair.kind.value, pair.device, pair.framework, pair.version, pair.weights, one.batch,
            _whole(one.measured), _whole(one.predicted), one.farthest_speedup, one.measured_note, one.predicted_note,
        )
        for pair in pairs
        for one in crossovers_of(pair)
    )  # fmt: skip
    return Table(name="silicon_crossovers", columns=_NAMES, rows=rows)


def committed_crossovers(pairs: Sequence[SparsePair]) -> Table:
    """The measured crossovers that came with the suite, of these pairs' devices, frameworks and kinds.

    Their predictions are from fits that saw no context beyond 16k.
    """
    text = (files("kinetics.results") / "silicon_crossovers.csv").read_text(encoding="utf-8")
    wanted = {(pair.kind.value, pair.device, pair.framework) for pair in pairs}
    rows = tuple(
        tuple(_value(name, row[name]) for name in _NAMES)
        for row in csv.DictReader(io.StringIO(text))
        if (row["pair"], row["device"], row["framework"]) in wanted
    )
    return Table(name="silicon_crossovers", columns=_NAMES, rows=rows)


def _value(name: str, text: str) -> Any:
    if not text:
        return None
    if name in ("batch", "measured_context_len", "predicted_context_len"):
        return int(text)
    return float(text) if name == "farthest_speedup" else text


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
