"""Dense against sparse: speed-ups from finished rows, and the context from which sparse attention pays.

Pure arithmetic over the `extra_info` of rows. Both sides of a ratio come from one cell, measured interleaved.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kinetics.specs.counts import short

_CELL_FIELDS = ("model", "batch", "context_len", "page_size", "dtype", "cache_state", "graph", "kv_layout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Speedup:
    """Time of dense decode over time of the whole sparse path, by one provider, in one cell.

    `page_size` and `cache_state` are None where whoever published the times did not state them.
    """

    provider: str
    model: str
    batch: int
    context_len: int
    page_size: int | None
    kv_budget: int
    cache_state: str | None
    uses_cuda_graph: bool
    kv_layout: str | None
    dense_s: float
    sparse_s: float
    measured: float
    predicted: float
    calibrated: float | None


def speedups(rows: Iterable[Mapping[str, Any]]) -> list[Speedup]:
    """Every block top-k row against the dense row of the same provider in the same cell, in order of context."""
    rows = list(rows)
    dense = {_key(row): row for row in rows if row.get("operation") == "dense"}
    sparse = [row for row in rows if row.get("operation") == "block_topk" and _key(row) in dense]
    pairs = [_speedup(dense[_key(row)], row) for row in sparse]
    return sorted(pairs, key=_order)


def _order(pair: Speedup) -> tuple[str, str, int, str, int, int, int]:
    place = (pair.provider, pair.model, pair.page_size or 0, pair.cache_state or "")
    return (*place, pair.kv_budget, pair.batch, pair.context_len)


def gpu_condition(uses_cuda_graph: bool, kv_layout: str | None) -> str:
    """How rows of a GPU were run: `, graph`, and `, graph, hnd` in the engine's layout; nothing on a CPU."""
    if not uses_cuda_graph:
        return ""
    return ", graph, hnd" if kv_layout == "hnd" else ", graph"


def crossover_context(context_lens: Sequence[int], ratios: Sequence[float]) -> float | None:
    """The context at which the speed-up first passes 1, by log-log interpolation between measured contexts.

    None if it is above 1 or below 1 everywhere: the crossover lies outside what was measured.
    """
    points = sorted(zip(context_lens, ratios, strict=True))
    for (near, low), (far, high) in itertools.pairwise(points):
        if low < 1.0 <= high:
            share = -math.log(low) / (math.log(high) - math.log(low))
            return math.exp(math.log(near) + share * (math.log(far) - math.log(near)))
    return None


def where_it_pays(context_lens: Sequence[int], ratios: Sequence[float]) -> str:
    """The contexts in which sparse attention pays, in words."""
    context_len = crossover_context(context_lens, ratios)
    if context_len is not None:
        beyond = [ratio for one, ratio in zip(context_lens, ratios, strict=True) if one > context_len]
        return f"from {context_len:.0f} tokens on{'' if min(beyond, default=1.0) >= 1.0 else ', not everywhere beyond'}"
    if min(ratios) >= 1.0:
        return f"from the shortest context on, {short(min(context_lens))}"
    return f"nowhere up to {short(max(context_lens))}" if max(ratios) < 1.0 else "in the shorter contexts only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossover:
    """Where sparse starts to pay for one batch size, as measured and as predicted; None: outside what was measured.

    `calibrated` is None too where a pair has no calibrated time. `measured_note` and `predicted_note` say it in words.
    """

    provider: str
    model: str
    batch: int
    kv_budget: int
    page_size: int | None
    uses_cuda_graph: bool
    kv_layout: str | None
    measured: float | None
    predicted: float | None
    calibrated: float | None
    measured_note: str
    predicted_note: str


def crossovers(pairs: Iterable[Speedup]) -> list[Crossover]:
    """One crossover per (provider, model, batch, budget, page, graph, layout) with two contexts measured or more."""
    series = defaultdict(list)
    for pair in pairs:
        if pair.cache_state != "warm":
            how = (pair.provider, pair.kv_budget, pair.page_size, pair.uses_cuda_graph, pair.kv_layout)
            series[pair.model, pair.batch, how].append(pair)
    return [_crossover(line) for line in series.values() if len(line) > 1]


def _crossover(line: Sequence[Speedup]) -> Crossover:
    one, context_lens = line[0], [pair.context_len for pair in line]
    measured, predicted = [pair.measured for pair in line], [pair.predicted for pair in line]
    calibrated = [pair.calibrated for pair in line if pair.calibrated is not None]
    return Crossover(
        provider=one.provider,
        model=one.model,
        batch=one.batch,
        kv_budget=one.kv_budget,
        page_size=one.page_size,
        uses_cuda_graph=one.uses_cuda_graph,
        kv_layout=one.kv_layout,
        measured=crossover_context(context_lens, measured),
        predicted=crossover_context(context_lens, predicted),
        calibrated=crossover_context(context_lens, calibrated) if len(calibrated) == len(line) else None,
        measured_note=where_it_pays(context_lens, measured),
        predicted_note=where_it_pays(context_lens, predicted),
    )


def step_speedup(row: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> float | None:
    """How much faster this decode step is than the dense one of its cell with as many layers; None if none is there."""
    same = (*_CELL_FIELDS, "num_layers", "tp", "provider")
    dense = [other for other in rows if other.get("operation") == "step_dense"]
    twins = [other for other in dense if all(other.get(name) == row.get(name) for name in same)]
    return float(twins[0]["median_s"] / row["median_s"]) if twins else None


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (row["provider"], *(row.get(name) for name in _CELL_FIELDS))


def _speedup(dense: Mapping[str, Any], sparse: Mapping[str, Any]) -> Speedup:
    has_calibration = dense.get("calibrated_s") is not None and sparse.get("calibrated_s") is not None
    return Speedup(
        provider=sparse["provider"],
        model=sparse["model"],
        batch=sparse["batch"],
        context_len=sparse["context_len"],
        page_size=sparse["page_size"],
        kv_budget=sparse["kv_budget"],
        cache_state=sparse["cache_state"],
        uses_cuda_graph=sparse["graph"],
        kv_layout=sparse.get("kv_layout"),
        dense_s=dense["median_s"],
        sparse_s=sparse["median_s"],
        measured=dense["median_s"] / sparse["median_s"],
        predicted=dense["predicted_s"] / sparse["predicted_s"],
        calibrated=dense["calibrated_s"] / sparse["calibrated_s"] if has_calibration else None,
    )
