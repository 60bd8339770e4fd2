"""The figure of where sparse decode pays on real GPUs: speed-up over batch and context, a panel a device and framework.

Colour is the measured speed-up; the lines are where both sides take as long: solid as measured, dashed as predicted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kinetics.results.silicon_tables import short_device
from kinetics.results.sparse_silicon import SparsePair, crossovers_of
from kinetics.specs.counts import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_REACH: Final = 3.0
"""Colours span 1/8 to 8 times as fast."""
_DARK: Final = 3.2
"""Cells of this speed-up and more are dark."""
_TOLD: Final = 1.5
"""Lesser speed-ups are left to the colour."""
_COLOURS: Final = "PuOr"
_LINES: Final[dict[str, dict[str, Any]]] = {
    "measured": {"color": "black", "linewidth": 2.6, "solid_capstyle": "round"},
    "predicted": {"color": "#00b894", "linewidth": 1.3, "linestyle": (0, (2.5, 1.5))},
}
_UNKNOWN: Final = "0.8"
_PANEL_INCHES: Final = 1.32
_LEAST_INCHES: Final = 6.0
"""Of all panels of a row together, so that the title has room."""
_NAMES: Final = {"vllm": "vLLM", "sglang": "SGLang", "trtllm": "TRT-LLM"}


def draw_pairs(pairs: Sequence[SparsePair]) -> Figure:
    """One panel a pair on one colour scale: a row each kind and framework, a column each device.

    Raises: ValueError if there is no pair.
    """
    from matplotlib.figure import Figure

    if not pairs:
        raise ValueError("a figure needs a pair, got none; widen --on, --framework or --pair")
    rows = list(dict.fromkeys((pair.kind, pair.framework) for pair in pairs))
    kinds, devices = {pair.kind for pair in pairs}, list(dict.fromkeys(pair.device for pair in pairs))
    size = max(_PANEL_INCHES, _LEAST_INCHES / len(devices))
    figure = Figure(figsize=(size * len(devices) + 1.2, (min(size, 3.0) + 0.3) * len(rows) + 1.2), layout="constrained")
    panels = figure.subplots(len(rows), len(devices), squeeze=False)
    image: Any = None
    by_place = {(pair.kind, pair.framework, pair.device): pair for pair in pairs}
    for (kind, framework), panel_row in zip(rows, panels, strict=True):
        for device, panel in zip(devices, panel_row, strict=True):
            pair = by_place.get((kind, framework, device))
            if pair is None:
                panel.axis("off")
            else:
                image = _draw_panel(panel, pair)
                names = (short_device(device), _NAMES[framework], *([kind.name] if len(kinds) > 1 else []))
                panel.set_title(", ".join(names), fontsize=7.5)
    for panel in panels[:, 0]:
        panel.set_ylabel("batch", fontsize=8)
    for panel in panels[-1]:
        panel.set_xlabel("context (tokens)", fontsize=8)
    _explain(figure, panels, image, pairs)
    return figure


def _explain(figure: Figure, panels: Any, image: Any, pairs: Sequence[SparsePair]) -> None:
    """Title, colour bar, legend and source."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    ticks = [-3, -2, -1, 0, 1, 2, 3]
    bar = figure.colorbar(image, ax=panels, ticks=ticks, pad=0.01, fraction=0.03)
    bar.set_label("so many times as fast as dense", fontsize=8)
    bar.ax.set_yticklabels([f"{2.0**tick:.3g}x" for tick in ticks], fontsize=8)
    longest = short(max(pair.longest_fitted for pair in pairs))
    handles = [
        Line2D([], [], label="both as fast, as measured", **_LINES["measured"]),
        Line2D([], [], label=f"the same, predicted from contexts up to {longest}", **_LINES["predicted"]),
        Patch(facecolor=_UNKNOWN, label="not measured"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    titles = [kind.title for kind in dict.fromkeys(pair.kind for pair in pairs)]
    sources = ", ".join(dict.fromkeys(pair.source for pair in pairs))
    head = f"Where sparse decode attention pays: {titles[0]}" + "".join(f"\nand {title}" for title in titles[1:])
    is_mended = any(cell.projections_s for pair in pairs for cell in pair.cells)
    how = "measured, projections of dense GQA fitted" if is_mended else "measured"
    figure.suptitle(f"{head}\none layer, {how}: {sources}", fontsize=9.5)


def _draw_panel(panel: Axes, pair: SparsePair) -> Any:
    batches, contexts = list(pair.batches), sorted({cell.context_len for cell in pair.cells})
    measured = {(cell.batch, cell.context_len): cell.measured for cell in pair.cells}
    grid = [[_log_ratio(measured.get((batch, context))) for context in contexts] for batch in batches]
    panel.set_facecolor(_UNKNOWN)
    image = panel.imshow(grid, cmap=_COLOURS, vmin=-_REACH, vmax=_REACH, aspect="auto", origin="lower")
    shown_contexts, shown_batches = range(1, len(contexts), 3), range(0, len(batches), 2)
    panel.set_xticks(shown_contexts, [short(contexts[i]) for i in shown_contexts], fontsize=7)
    panel.set_yticks(shown_batches, [str(batches[i]) for i in shown_batches], fontsize=7)
    _mark_best(panel, measured, batches, contexts)
    found = crossovers_of(pair)
    for side, style in _LINES.items():
        crossed = [(getattr(one, side), row) for row, one in enumerate(found) if getattr(one, side) is not None]
        places = np.interp(np.log([context for context, _ in crossed]), np.log(contexts), range(len(contexts)))
        panel.plot(places, [row for _, row in crossed], **style)
    panel.set(xlim=(-0.5, len(contexts) - 0.5), ylim=(-0.5, len(batches) - 0.5))
    return image


def _mark_best(panel: Axes, measured: dict[tuple[int, int], float], batches: list[int], contexts: list[int]) -> None:
    """The greatest speed-up, in its cell, if it is worth a number."""
    batch, context = max(measured, key=lambda cell: measured[cell] if cell[0] in batches else 0.0)
    x, y = contexts.index(context), batches.index(batch)
    best = measured[batch, context]
    if best < _TOLD:
        return
    colour = "white" if best > _DARK else "black"
    panel.text(x + 0.4, y, f"{best:.1f}x", ha="right", va="center", fontsize=7, fontweight="bold", color=colour)


def _log_ratio(ratio: float | None) -> float:
    return math.nan if ratio is None else max(-_REACH, min(_REACH, math.log2(ratio)))
