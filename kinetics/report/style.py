"""How every figure of the page looks: colours, symbols, axes, and text that cannot become markup.

Colours are Paul Tol's bright scheme, told apart by readers with any colour vision and legible on light and dark;
symbols repeat what colours say. The page sets text and grid colours to its theme.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

PALETTE: Final = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#8C8C8C")
GREY: Final = "#8C8C8C"
_SYMBOLS: Final = {
    "dense": "circle", "block_topk": "diamond", "step_dense": "circle-open", "step_block_topk": "diamond-open",
}  # fmt: skip
_OTHER_SYMBOL: Final = "x-thin-open"
DIVERGING: Final = ((0.0, "#B35806"), (0.25, "#F1A340"), (0.5, "#F7F7F7"), (0.75, "#998EC3"), (1.0, "#542788"))
"""Orange: slower; purple: faster; white: equal."""


def color_of(index: int) -> str:
    """Colour of the n-th file or line; beyond the palette colours repeat and symbols must tell."""
    return PALETTE[index % len(PALETTE)]


def symbol_of(operation: str) -> str:
    """Marker of an operation: filled for kernels, open for whole steps, a cross for the parts of a search."""
    return _SYMBOLS.get(operation, _OTHER_SYMBOL)


def safe(text: object) -> str:
    """Text for a figure: plotly reads a little markup, and names in files come from outside."""
    return html.escape("".join(c if c.isprintable() else "?" for c in str(text)), quote=False)


def new_figure(*, x: dict[str, Any] | None = None, y: dict[str, Any] | None = None, height: int = 430) -> Figure:
    """An empty figure in the page's style."""
    from plotly.graph_objects import Figure

    figure = Figure(layout={"template": "none"})
    figure.update_layout(
        height=height,
        margin={"l": 64, "r": 16, "t": 48, "b": 52},
        font={"family": "system-ui, sans-serif", "size": 13},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="closest",
        hoverlabel={"align": "left"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        xaxis=axis(**(x or {})),
        yaxis=axis(**(y or {})),
    )
    return figure


def axis(**options: Any) -> dict[str, Any]:
    """An axis in the page's style."""
    return {"zeroline": False, "showline": True, "ticks": "outside", "ticklen": 4, "automargin": True, **options}


def log_axis(title: str, values: Iterable[float]) -> dict[str, Any]:
    """A logarithmic axis: one label a decade, or 1, 2 and 5 where the values span less than two."""
    known = [value for value in values if value > 0]
    spans_decades = bool(known) and max(known) > 100 * min(known)
    return {"type": "log", "title": title, "dtick": 1 if spans_decades else "D2", "tickformat": "~g"}


def hover(lines: Sequence[object]) -> str:
    """Lines of a hover label, each escaped."""
    return "<br>".join(safe(line) for line in lines)
