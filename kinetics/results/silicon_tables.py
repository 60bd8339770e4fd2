"""Where sparse decode pays on real GPUs, as tables: every batch for machines, a few of them side by side for people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from kinetics.results.sparse_silicon import PairCrossover, PairKind, SparsePair, crossovers_of
from kinetics.specs.counts import short
from kinetics.tables.table import Table

CLOSE: Final = 1.25
"""A predicted crossover this many times off, either way, still tells where sparse pays."""
_SHOWN_BATCHES: Final = (1, 4, 16, 64, 256)
_COLUMNS: Final = (
    "pair", "device", "framework", "version", "dense_version", "weights", "batch", "shortest_context_len",
    "longest_context_len", "measured_context_len", "predicted_context_len", "measured_speedup", "predicted_speedup",
    "measured_note", "predicted_note", "longest_fitted", "source",
)  # fmt: skip


def crossover_table(pairs: Sequence[SparsePair]) -> Table:
    """One row a pair and batch: from which context on sparse pays, and the speed-ups at the longest one."""
    rows = tuple(
        (
            pair.kind.value, pair.device, pair.framework, pair.version, pair.dense_version, pair.weights, one.batch,
            one.shortest_context_len, one.longest_context_len, _whole(one.measured), _whole(one.predicted),
            one.measured_speedup, one.predicted_speedup, one.measured_note, one.predicted_note, pair.longest_fitted,
            pair.source,
        )
        for pair in pairs
        for one in crossovers_of(pair)
    )  # fmt: skip
    return Table(name="silicon_crossovers", columns=_COLUMNS, rows=rows)


def reading_table(pairs: Sequence[SparsePair], name: str) -> Table:
    """One row a device and framework, a column a batch: the context from which sparse pays, measured and predicted."""
    found = [{one.batch: one for one in crossovers_of(pair)} for pair in pairs]
    batches = [batch for batch in _SHOWN_BATCHES if any(batch in one for one in found)]
    rows = tuple(
        (short_device(pair.device), pair.framework, *(_cell(by_batch.get(batch)) for batch in batches))
        for pair, by_batch in zip(pairs, found, strict=True)
    )
    return Table(name=name, columns=("device", "by", *(f"batch {batch}" for batch in batches)), rows=rows)


def measured_where(pairs: Sequence[SparsePair], kinds: Sequence[PairKind]) -> list[str]:
    """One phrase a kind and framework: the devices that it was measured on."""
    where: dict[tuple[PairKind, str], list[str]] = {}
    for pair in pairs:
        where.setdefault((pair.kind, pair.framework), []).append(short_device(pair.device))
    return [f"{kind.value} by {by} on {', '.join(on)}" for (kind, by), on in where.items() if kind in kinds]


def short_device(name: str) -> str:
    """A device as people call it: H200, RTX PRO 6000."""
    return re.split(r" SXM| \(| Server", name)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far predicted crossovers are from measured ones, as factors of 1 and more, over those that both have."""

    num_crossovers: int
    num_close: int
    median_factor: float
    worst_factor: float
    num_one_sided: int

    def __str__(self) -> str:
        return (
            f"{self.num_close} of {self.num_crossovers} crossovers predicted within {CLOSE:g}x (median "
            f"{self.median_factor:.2f}x, worst {self.worst_factor:.2f}x); {self.num_one_sided} found on one side alone"
        )


def agreement(pairs: Sequence[SparsePair], *, longer_than: int = 0) -> Agreement | None:
    """Over all batches of these pairs, of crossovers beyond a context; None if no crossover is on both sides."""
    found = [one for pair in pairs for one in crossovers_of(pair)]
    lone = [one for one in found if (one.measured is None) != (one.predicted is None)]
    factors = [
        max(one.measured / one.predicted, one.predicted / one.measured)
        for one in found
        if one.measured is not None and one.predicted is not None and one.measured > longer_than
    ]
    if not factors:
        return None
    return Agreement(
        num_crossovers=len(factors), num_close=sum(factor <= CLOSE for factor in factors),
        median_factor=median(factors), worst_factor=max(factors),
        num_one_sided=sum((one.measured or one.predicted or 0) > longer_than for one in lone),
    )  # fmt: skip


def _cell(one: PairCrossover | None) -> str:
    if one is None:
        return "-"
    sides = ((one.measured, one.measured_speedup), (one.predicted, one.predicted_speedup))
    return "/".join(_context(value, speedup, one) for value, speedup in sides)


def _context(value: float | None, speedup: float, one: PairCrossover) -> str:
    """Two digits of a context: `3.3k`, `24k`, `>128k` where it paid nowhere up to there, `<512` where everywhere."""
    if value is None:
        return f"<{short(one.shortest_context_len)}" if speedup >= 1.0 else f">{short(one.longest_context_len)}"
    return f"{value:.0f}" if value < 1000 else f"{value / 1024:.1f}k" if value < 9.95 * 1024 else f"{value / 1024:.0f}k"


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
