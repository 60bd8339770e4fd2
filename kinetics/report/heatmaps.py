"""Maps of the sparse speed-up over batch and context, measured beside predicted, with the line where it pays."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kinetics.compare_tables import paired_fields
from kinetics.grid import short
from kinetics.report.style import DIVERGING, axis, new_figure
from kinetics.result_files import ResultFile
from kinetics.speedup import Speedup, crossover_context, speedups

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedupMap:
    """All speed-ups of one provider, model and budget in one file; `title` tells it from the others."""

    title: str
    pairs: tuple[Speedup, ...]


def speedup_maps(files: Iterable[ResultFile]) -> list[SpeedupMap]:
    """One map per file, provider, model, budget, page size and way of launching, the fullest first. Cold rows only."""
    maps = []
    for file in files:
        groups: dict[tuple[Any, ...], list[Speedup]] = defaultdict(list)
        for pair in speedups(paired_fields(file.rows)):
            if pair.cache_state == "cold":
                key = (pair.provider, pair.model, pair.kv_budget, pair.page_size, pair.is_graph)
                groups[key].append(pair)
        for (provider, model, kv_budget, page_size, is_graph), pairs in groups.items():
            title = f"{file.label}: {provider}, {model}, {short(kv_budget)} tokens kept, pages of {page_size}"
            maps.append(SpeedupMap(title=title + (", graph" if is_graph else ""), pairs=tuple(pairs)))
    return sorted(maps, key=lambda one: -len(one.pairs))


def draw_map(one: SpeedupMap) -> Figure:
    """Measured on the left, predicted on the right, one colour scale, the crossover context of each batch in both."""
    batches = sorted({pair.batch for pair in one.pairs})
    contexts = sorted({pair.context_len for pair in one.pairs})
    ratios = [ratio for pair in one.pairs for ratio in (pair.measured, pair.predicted)]
    reach = max(1.0, *(abs(math.log2(ratio)) for ratio in ratios))
    figure = new_figure(height=150 + 54 * max(len(batches), 3))
    for column, name in enumerate(("measured", "predicted")):
        suffix = "" if column == 0 else "2"
        figure.add_heatmap(**_cells(one.pairs, name, batches, contexts), **_color_scale(reach, column), **_on(suffix))
        _add_crossover(figure, one.pairs, name, batches, contexts, suffix)
        figure.update_layout({f"xaxis{suffix}": _context_axis(contexts, name, column), **_batch_axis(batches, column)})
    return figure


def _on(suffix: str) -> dict[str, str]:
    return {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}


def _cells(pairs: Sequence[Speedup], name: str, batches: list[int], contexts: list[int]) -> dict[str, Any]:
    found = {(pair.batch, pair.context_len): getattr(pair, name) for pair in pairs}
    grid = [[found.get((batch, context)) for context in contexts] for batch in batches]
    return {
        "x": list(range(len(contexts))),
        "y": list(range(len(batches))),
        "z": [[math.log2(ratio) if ratio else None for ratio in line] for line in grid],
        "text": [[f"{ratio:.2f}x" if ratio else "" for ratio in line] for line in grid],
        "texttemplate": "%{text}",
        "hovertemplate": f"{name}: %{{text}}<extra></extra>",
        "xgap": 2,
        "ygap": 2,
    }


def _color_scale(reach: float, column: int) -> dict[str, Any]:
    powers = range(-math.floor(reach), math.floor(reach) + 1)
    return {
        "colorscale": [list(stop) for stop in DIVERGING],
        "zmin": -reach,
        "zmax": reach,
        "showscale": column == 1,
        "colorbar": {
            "title": {"text": "dense / sparse time", "side": "right"},
            "tickvals": list(powers),
            "ticktext": [f"{2**power}x" if power >= 0 else f"1/{2**-power}x" for power in powers],
            "thickness": 12,
            "outlinewidth": 0,
        },
    }


def _add_crossover(
    figure: Figure, pairs: Sequence[Speedup], name: str, batches: list[int], contexts: list[int], suffix: str
) -> None:
    points = []
    for row, batch in enumerate(batches):
        line = [pair for pair in pairs if pair.batch == batch]
        context = crossover_context([p.context_len for p in line], [getattr(p, name) for p in line])
        if context is not None:
            points.append((_position(context, contexts), row, f"batch {batch}: sparse pays from {context:,.0f} tokens"))
    edged = [(x, y + side, text) for x, y, text in points for side in (-0.5, 0.5)]
    figure.add_scatter(
        x=[x for x, _, _ in edged],
        y=[y for _, y, _ in edged],
        text=[text for _, _, text in edged],
        mode="lines",
        line={"color": "#111111", "width": 3, "dash": "dot"},
        hoverinfo="text",
        name="crossover",
        showlegend=False,
        **_on(suffix),
    )


def _position(context: float, contexts: Sequence[int]) -> float:
    """Where a context lies between the columns, on the logarithm."""
    column = max(i for i, known in enumerate(contexts) if known <= context)
    if column == len(contexts) - 1:
        return float(column)
    low, high = math.log(contexts[column]), math.log(contexts[column + 1])
    return column + (math.log(context) - low) / (high - low)


def _context_axis(contexts: Sequence[int], name: str, column: int) -> dict[str, Any]:
    domain = [0.0, 0.47] if column == 0 else [0.53, 1.0]
    return axis(
        domain=domain, tickvals=list(range(len(contexts))), ticktext=[short(context) for context in contexts],
        title=f"context (tokens), {name}", anchor="y" if column == 0 else "y2", showgrid=False,
    )  # fmt: skip


def _batch_axis(batches: Sequence[int], column: int) -> dict[str, Any]:
    options = axis(
        tickvals=list(range(len(batches))), ticktext=[str(batch) for batch in batches], showgrid=False,
        anchor="x" if column == 0 else "x2", title="batch" if column == 0 else "",
    )  # fmt: skip
    return {"yaxis" if column == 0 else "yaxis2": options}
