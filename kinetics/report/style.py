"""How every figure of the page looks: colours, symbols, axes, hover labels.

Colours are Paul Tol's bright scheme, told apart by readers with any colour vision and legible on light and dark;
symbols repeat what colours say. The page sets text and grid colours to its theme. Text in files reaches figures as
values of columns, which Bokeh shows as text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure  # noqa: N812 - Bokeh's class is spelt like a function

PALETTE: Final = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#8C8C8C")
GREY: Final = "#8C8C8C"
POINT_SIZE: Final = 7
_SYMBOLS: Final = {"dense": "circle", "block_topk": "square", "step_dense": "circle", "step_block_topk": "square"}
_OTHER_SYMBOL: Final = "x"
_DIVERGING: Final = ((0xB3, 0x58, 0x06), (0xF1, 0xA3, 0x40), (0xF7, 0xF7, 0xF7), (0x99, 0x8E, 0xC3), (0x54, 0x27, 0x88))


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A titled axis: logarithmic over `log_of` if that is given, linear over `limits` or what is drawn otherwise."""

    title: str
    log_of: tuple[float, ...] | None = None
    limits: tuple[float, float] | None = None


def log_axis(title: str, values: Iterable[float]) -> Axis:
    """A logarithmic axis that will show these values."""
    return Axis(title=title, log_of=tuple(value for value in values if value > 0))


def color_of(index: int) -> str:
    """Colour of the n-th file or line; beyond the palette colours repeat and hover labels must tell."""
    return PALETTE[index % len(PALETTE)]


def symbol_of(operation: str) -> dict[str, Any]:
    """Marker of an operation: filled for kernels, hollow for whole steps, a cross for the parts of a search."""
    symbol: dict[str, Any] = {"marker": _SYMBOLS.get(operation, _OTHER_SYMBOL)}
    return symbol | ({"fill_alpha": 0.0} if operation.startswith("step_") else {})


def diverging(steps: int = 101) -> list[str]:
    """Colours from orange (slower) over white (equal) to purple (faster)."""
    return [_mix(4 * step / (steps - 1)) for step in range(steps)]


def _mix(position: float) -> str:
    left = min(int(position), len(_DIVERGING) - 2)
    share = position - left
    pairs = zip(_DIVERGING[left], _DIVERGING[left + 1], strict=True)
    return "#" + "".join(f"{round(a + share * (b - a)):02X}" for a, b in pairs)


def new_figure(x: Axis, y: Axis, *, height: int = 430) -> Figure:
    """An empty figure in the page's style."""
    from bokeh.plotting import figure

    kinds: dict[str, Any] = {
        "x_axis_type": "log" if x.log_of is not None else "linear",
        "y_axis_type": "log" if y.log_of is not None else "linear",
    }
    kinds |= {"x_range": x.limits} if x.limits else {}
    kinds |= {"y_range": y.limits} if y.limits else {}
    made = figure(height=height, sizing_mode="stretch_width", tools="pan,box_zoom,wheel_zoom,reset,save", **kinds)
    made.toolbar.logo = None
    made.toolbar.autohide = True
    made.background_fill_color = None
    made.border_fill_color = None
    made.outline_line_color = None
    for axis, wanted in ((made.xaxis[0], x), (made.yaxis[0], y)):
        axis.axis_label = wanted.title
        axis.axis_label_text_font_style = "normal"
        axis.minor_tick_line_color = None
        if wanted.log_of is not None:
            _label_decades(axis, wanted.log_of)
    return made


def _label_decades(axis: Any, values: Sequence[float]) -> None:
    """One label a decade, or 1, 2 and 5 where the values span less than two."""
    from bokeh.models import LogTicker, NumeralTickFormatter

    spans_decades = bool(values) and max(values) > 100 * min(values)
    axis.ticker = LogTicker(mantissas=[1] if spans_decades else [1, 2, 5])
    axis.formatter = NumeralTickFormatter(format="0,0.[00000]")


def add_legend(figure: Figure) -> None:
    """Move the legend above the figure; a click on an entry hides its marks."""
    if not figure.legend:
        return
    legend: Any = figure.legend[0]
    figure.add_layout(legend, "above")
    legend.click_policy = "hide"
    legend.orientation = "vertical"
    legend.location = "top_left"
    legend.border_line_color = None
    legend.background_fill_color = None
    legend.label_text_font_size = "12px"
    legend.spacing = 0
    legend.padding = 2


def add_hover(figure: Figure, names: Sequence[str]) -> None:
    """A label that shows these columns of whatever mark is under the pointer."""
    from bokeh.models import HoverTool

    renderers: list[Any] = list(figure.renderers)
    marks = [one for one in renderers if set(names) <= set(one.data_source.column_names)]
    figure.add_tools(HoverTool(renderers=marks, tooltips=[(name.replace("_", " "), f"@{name}") for name in names]))
