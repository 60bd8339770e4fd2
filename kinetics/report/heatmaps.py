"""Maps of the sparse speed-up over batch and context, measured beside predicted, with the line where it pays."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kinetics.compare.tables import paired_fields
from kinetics.report.style import Axis, Panel, add_hover, bounded_log, diverging, new_figure
from kinetics.results.reader import Origin, ResultFile
from kinetics.results.speedup import Speedup, crossover_context, gpu_condition, speedups, where_it_pays
from kinetics.specs.counts import short
from kinetics.tables.quantity import Quantity, show

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure  # noqa: N812 - Bokeh's class is spelt like a function


MAX_MAPS: Final = 40
NUMBER_HEIGHT: Final = 0.44
"""Of a cell's height: the band in its middle that belongs to the number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedupMap:
    """All speed-ups of one provider, model and budget in one file; `title` tells it from the others.

    `foreseen` is what stands beside the measured ones: `predicted`, or `calibrated` where fits of others' kernels are
    all that a published file can be held against.
    """

    title: str
    foreseen: str
    pairs: tuple[Speedup, ...]


def speedup_maps(files: Iterable[ResultFile]) -> list[SpeedupMap]:
    """One map per file, provider, model, budget, page size and way of launching, the fullest first; no warm rows."""
    maps = []
    for file in files:
        groups: dict[tuple[Any, ...], list[Speedup]] = defaultdict(list)
        for pair in speedups(paired_fields(file.rows)):
            if pair.cache_state != "warm":
                key = (pair.provider, pair.model, pair.kv_budget, pair.page_size, pair.uses_cuda_graph, pair.kv_layout)
                groups[key].append(pair)
        for (provider, model, kv_budget, page_size, uses_cuda_graph, kv_layout), pairs in groups.items():
            pages = f", pages of {page_size}" if page_size else ""
            title = f"{file.label}: {provider}, {model}, {short(kv_budget)} tokens kept{pages}"
            title += gpu_condition(uses_cuda_graph, kv_layout)
            is_fitted = file.origin is Origin.PUBLISHED and all(pair.calibrated for pair in pairs)
            foreseen = "calibrated" if is_fitted else "predicted"
            maps.append(SpeedupMap(title=title, foreseen=foreseen, pairs=tuple(pairs)))
    return sorted(maps, key=lambda one: -len(one.pairs))


def map_panel(one: SpeedupMap) -> Panel:
    """Both maps of one provider, model and budget."""
    alt = f"Speed-up of sparse over dense decode by context and batch, measured and {one.foreseen}"
    return Panel(figures=tuple(draw_map(one)), legend=(), title=one.title, alt=alt, note=_break_even(one))


def draw_map(one: SpeedupMap) -> list[Figure]:
    """Measured and foreseen, on one colour scale, with the crossover context of each batch in both."""
    sides = ("measured", one.foreseen)
    ratios = [getattr(pair, side) for pair in one.pairs for side in sides]
    reach = max(1.0, *(abs(_log2(ratio)) for ratio in ratios))
    return [_draw(one.pairs, name, reach) for name in sides]


def _break_even(one: SpeedupMap) -> str:
    """Where sparse attention pays, batch by batch, in words."""
    said = []
    for batch in sorted({pair.batch for pair in one.pairs}):
        line = [pair for pair in one.pairs if pair.batch == batch]
        contexts = [pair.context_len for pair in line]
        measured = where_it_pays(contexts, [pair.measured for pair in line])
        foreseen = where_it_pays(contexts, [getattr(pair, one.foreseen) for pair in line])
        said.append(f"batch {batch}: {measured} ({one.foreseen}: {foreseen})")
    return f"Sparse attention pays at {'; '.join(said)}."


def _log2(ratio: float) -> float:
    return bounded_log(ratio) / math.log(2)


def _draw(pairs: Sequence[Speedup], name: str, reach: float) -> Figure:
    from bokeh.models import ColumnDataSource

    batches = sorted({pair.batch for pair in pairs})
    contexts = sorted({pair.context_len for pair in pairs})
    figure = new_figure(
        Axis(title=f"context (tokens), {name}", limits=(-0.5, len(contexts) - 0.5)),
        Axis(title="batch", limits=(-0.5, len(batches) - 0.5)),
        height=110 + 52 * max(len(batches), 2),
    )
    _label(figure.xaxis[0], [short(context) for context in contexts])
    _label(figure.yaxis[0], [str(batch) for batch in batches])
    figure.grid.grid_line_color = None
    cells = ColumnDataSource(_cells(pairs, name, batches, contexts, reach))
    figure.rect("x", "y", 0.97, 0.95, source=cells, color="color", name="cells")
    text: dict[str, Any] = {"text_align": "center", "text_baseline": "middle", "text_font_size": "12px"}
    figure.text("x", "y", "speedup", source=cells, text_color="ink", **text)
    line = _crossovers(pairs, name, batches, contexts)
    figure.segment("x", "low", "x", "high", source=line, color="#111111", line_width=3, name="crossover")
    add_hover(figure, ("batch", "context", "speedup"))
    return figure


def _label(axis: Any, labels: Sequence[str]) -> None:
    axis.ticker = list(range(len(labels)))
    axis.major_label_overrides = dict(enumerate(labels))
    axis.major_tick_line_color = None


def _cells(
    pairs: Sequence[Speedup], name: str, batches: list[int], contexts: list[int], reach: float
) -> dict[str, Any]:
    """One column a property, one entry a measured cell; cells that were not measured stay blank."""
    palette = diverging()
    ratios = [getattr(pair, name) for pair in pairs]
    shares = [(_log2(ratio) / reach + 1) / 2 for ratio in ratios]
    return {
        "x": [contexts.index(pair.context_len) for pair in pairs],
        "y": [batches.index(pair.batch) for pair in pairs],
        "batch": [pair.batch for pair in pairs],
        "context": [f"{pair.context_len:,} tokens" for pair in pairs],
        "ratio": ratios,
        "speedup": [show(ratio, Quantity.SPEEDUP) for ratio in ratios],
        "color": [palette[round(share * (len(palette) - 1))] for share in shares],
        "ink": ["#FFFFFF" if abs(share - 0.5) > 0.35 else "#111111" for share in shares],
    }


def _crossovers(pairs: Sequence[Speedup], name: str, batches: list[int], contexts: list[int]) -> dict[str, Any]:
    """Two strokes a batch, above and below where its numbers stand."""
    found = []
    for row, batch in enumerate(batches):
        line = [pair for pair in pairs if pair.batch == batch]
        context = crossover_context([p.context_len for p in line], [getattr(p, name) for p in line])
        if context is not None:
            found.append((row, context))
    ends = [(row, context, side) for row, context in found for side in (-1, 1)]
    return {
        "x": [_position(context, contexts) for _, context, _ in ends],
        "low": [row + side * 0.5 for row, _, side in ends],
        "high": [row + side * NUMBER_HEIGHT / 2 for row, _, side in ends],
        "context_len": [context for _, context, _ in ends],
    }


def _position(context: float, contexts: Sequence[int]) -> float:
    """Where a context lies between the columns, on the logarithm."""
    column = max(i for i, known in enumerate(contexts) if known <= context)
    if column == len(contexts) - 1:
        return float(column)
    low, high = math.log(contexts[column]), math.log(contexts[column + 1])
    return column + (math.log(context) - low) / (high - low)
