"""The figure of where sparse decode pays on real GPUs: speed-up over batch and context, a panel a device and framework.

Colour is measured where it was measured, predicted otherwise; the lines are where both sides take as long: solid as
measured, dashed as predicted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from kinetics.results.sparse_silicon import PairCrossover, SparsePair, crossovers_of
from kinetics.specs.counts import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_CONTEXT: Final = 512
MOST_COLUMNS: Final = 4
_REACH: Final = 3.0
"""Colours span 1/8 to 8 times as fast."""
_COLOURS: Final = "PuOr"


def draw_pairs(pairs: Sequence[SparsePair], *, title: str) -> Figure:
    """One panel a pair, on one colour scale.

    Raises: ValueError if there is no pair.
    """
    from matplotlib.figure import Figure

    if not pairs:
        raise ValueError("a figure needs a pair, got none; widen --on, --framework or --pair")
    columns = min(MOST_COLUMNS, len(pairs))
    rows = math.ceil(len(pairs) / columns)
    figure = Figure(figsize=(3.1 * columns + 0.9, 2.5 * rows + 1.0), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    image = None
    for index, panel in enumerate(panels.flat):
        if index < len(pairs):
            image = _draw_panel(panel, pairs[index])
        else:
            panel.axis("off")
    ticks = [-3, -2, -1, 0, 1, 2, 3]
    bar = figure.colorbar(image, ax=panels, ticks=ticks, label="sparse is so many times as fast")
    bar.ax.set_yticklabels([f"{2.0**tick:g}" for tick in ticks])
    figure.suptitle(title)
    figure.supxlabel("context (tokens)")
    figure.supylabel("batch")
    return figure


def _draw_panel(panel: Axes, pair: SparsePair) -> Any:
    batches = list(pair.batches)
    contexts = sorted({cell.context_len for cell in pair.cells if cell.context_len >= LEAST_CONTEXT})
    ratios = {(cell.batch, cell.context_len): cell.measured or cell.predicted for cell in pair.cells}
    grid = [[_log_ratio(ratios.get((batch, context))) for context in contexts] for batch in batches]
    image = panel.imshow(grid, cmap=_COLOURS, vmin=-_REACH, vmax=_REACH, aspect="auto", origin="lower")
    panel.set_xticks(range(0, len(contexts), 2), [short(contexts[i]) for i in range(0, len(contexts), 2)], fontsize=7)
    panel.set_yticks(range(0, len(batches), 2), [str(batches[i]) for i in range(0, len(batches), 2)], fontsize=7)
    panel.set_title(f"{pair.device}\n{pair.framework} {pair.version}", fontsize=8)
    found = crossovers_of(pair)
    for name, dash in (("measured", "-"), ("predicted", "--")):
        _draw_line(panel, found, name, dash, batches, contexts)
    return image


def _draw_line(
    panel: Axes, found: Sequence[PairCrossover], name: str, dash: str, batches: list[int], contexts: list[int]
) -> None:
    """Where both sides take as long, from batch to batch."""
    points = [(getattr(one, name), batches.index(one.batch)) for one in found if getattr(one, name) is not None]
    inside = [(math.log2(context / contexts[0]), row) for context, row in points if context >= contexts[0]]
    if inside:
        panel.plot(*zip(*inside, strict=True), dash, color="black", linewidth=1.3)
        panel.set_xlim(-0.5, len(contexts) - 0.5)


def _log_ratio(ratio: float | None) -> float:
    return math.nan if ratio is None else max(-_REACH, min(_REACH, math.log2(ratio)))
