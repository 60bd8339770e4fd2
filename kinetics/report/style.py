"""How every figure of the page looks: colours, symbols, axes, hover labels.

Colours are near Paul Tol's bright scheme, told apart by readers with any colour vision, and as dark or light as a mark
must be to be seen on light and on dark paper; symbols repeat what colours say. The page sets text and grid colours to
its theme. Text in files reaches figures as values of columns, which Bokeh shows as text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure  # noqa: N812 - Bokeh's class is spelt like a function

PALETTE: Final = ("#4477AA", "#E2556A", "#228833", "#A98600", "#1F97B3", "#AA4488", "#8C8C8C")
GREY: Final = "#8C8C8C"
POINT_SIZE: Final = 7
INK: Final = "ink"
"""Tag of texts that take the page's ink."""
_LINE_SYMBOLS: Final = ("circle", "square", "triangle", "diamond", "x")
_SYMBOLS: Final = {"dense": "circle", "block_topk": "square", "step_dense": "circle", "step_block_topk": "square"}
_OTHER_SYMBOL: Final = "x"
_OTHER_LABEL: Final = "parts of a search, and others"
_HOLLOW: Final = "step_"
_DIVERGING: Final = ((0xB3, 0x58, 0x06), (0xF1, 0xA3, 0x40), (0xF7, 0xF7, 0xF7), (0x99, 0x8E, 0xC3), (0x54, 0x27, 0x88))


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A titled axis: logarithmic over `log_of` if that is given, linear over `limits` or what is drawn otherwise.

    `ticks`: where to label and with what text; chosen by Bokeh without.
    """

    title: str
    log_of: tuple[float, ...] | None = None
    limits: tuple[float, float] | None = None
    ticks: dict[float, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LegendEntry:
    """What a kind of mark means. `symbol`: swatch, line, dashed, dotted or a marker, of which some are hollow."""

    label: str
    color: str
    symbol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Figures that stand side by side, the legend of all of them, what they show (`alt`), and a remark under them."""

    figures: tuple[Figure, ...]
    legend: tuple[LegendEntry, ...]
    title: str
    alt: str
    note: str = ""


def log_axis(title: str, values: Iterable[float], *, labels: Callable[[int], str] | None = None) -> Axis:
    """A logarithmic axis that will show these values. With `labels`, these counts are its ticks, thinned if many."""
    kept = tuple(value for value in values if 0 < value < math.inf)
    ticks = decade_ticks(kept)
    if labels is not None:
        counts = sorted({int(value) for value in kept})
        ticks = {float(count): labels(count) for count in counts[:: -(-len(counts) // _MAX_TICKS)]}
    return Axis(title=title, log_of=kept, ticks=ticks)


def ratio_axis(title: str, values: Iterable[float]) -> Axis:
    """A logarithmic axis with 1 in its middle that shows these ratios and labels few round ones."""
    reach = ratio_reach(values)
    return Axis(title=title, log_of=(1 / reach, reach), limits=(1 / reach, reach), ticks=ratio_ticks(reach))


def ratio_reach(values: Iterable[float]) -> float:
    """How far a symmetric axis around 1 must go: a little beyond the farthest ratio, at least to 1.25."""
    farthest = max((abs(bounded_log(value)) for value in values), default=0.0)
    return max(1.25, math.exp(min(1.08 * farthest, _LARGEST_LOG)))


def bounded_log(ratio: float) -> float:
    """The natural logarithm, of 0 and of infinity too: times in files may be as far apart as floats are."""
    if ratio <= 0 or math.isinf(ratio):
        return -_LARGEST_LOG if ratio <= 0 else _LARGEST_LOG
    return min(max(math.log(ratio), -_LARGEST_LOG), _LARGEST_LOG)


def ratio_ticks(reach: float) -> dict[float, str]:
    """Round ratios on both sides of 1, about six in all: the finer the axis, the finer they are."""
    steps = next((steps for limit, steps in _RATIO_STEPS if reach <= limit), None) or _powers_of_ten(reach)
    known = [step for step in steps if step <= reach]
    return {1 / step: f"1/{step:g}" for step in reversed(known)} | {1.0: "1"} | {step: f"{step:g}" for step in known}


def _powers_of_ten(reach: float) -> tuple[float, ...]:
    decades = math.log10(reach)
    step = max(1, math.ceil(decades / 3))
    return tuple(10.0**power for power in range(step, int(decades) + 1, step))


_MAX_TICKS: Final = 8
_LARGEST_LOG: Final = 600.0
_FINE_DECADES: Final = 2
_LARGEST_PLAIN: Final = 1e9
_RATIO_STEPS: Final = ((1.3, (1.1, 1.2)), (2.2, (1.2, 1.5, 2.0)), (11.0, (2.0, 5.0, 10.0)))


def color_of(index: int) -> str:
    """Colour of the n-th file or line; beyond the palette colours repeat and hover labels must tell."""
    return PALETTE[index % len(PALETTE)]


def symbol_at(index: int) -> str:
    """Marker of the n-th line: with its colour it tells more lines apart than there are colours."""
    return _LINE_SYMBOLS[index % len(_LINE_SYMBOLS)]


def tag(mark: Any, label: str, *, color: str, symbol: str) -> None:
    """Give a mark its entry in the legend; several marks may share one, and one mark may have several."""
    mark.tags = [*mark.tags, {"label": label, "color": color, "symbol": symbol}]


def known_legend(figures: Iterable[Figure]) -> tuple[LegendEntry, ...]:
    """The entries of all marks of some figures, each once, in the order drawn, files first."""
    entries: dict[str, LegendEntry] = {}
    for figure in figures:
        marks: list[Any] = list(figure.renderers)
        for entry in (entry for mark in marks for entry in mark.tags):
            entries.setdefault(entry["label"], LegendEntry(**entry))
    return tuple(sorted(entries.values(), key=lambda entry: entry.symbol != "swatch"))


def tag_row_mark(mark: Any, *, file: str, color: str, operation: str) -> None:
    """Entries of a mark whose colour says the file and whose symbol says the operation."""
    tag(mark, file, color=color, symbol="swatch")
    symbol = _SYMBOLS.get(operation, _OTHER_SYMBOL)
    is_hollow = operation.startswith(_HOLLOW)
    known = operation if symbol != _OTHER_SYMBOL else _OTHER_LABEL
    tag(mark, known, color=GREY, symbol=f"hollow {symbol}" if is_hollow else symbol)


def symbol_of(operation: str) -> dict[str, Any]:
    """Marker of an operation: filled for kernels, hollow for whole steps, a cross for the parts of a search."""
    symbol: dict[str, Any] = {"marker": _SYMBOLS.get(operation, _OTHER_SYMBOL)}
    return symbol | ({"fill_alpha": 0.0} if operation.startswith(_HOLLOW) else {})


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
    made.toolbar.active_drag = None  # a finger that scrolls the page must not pan
    made.background_fill_color = None
    made.border_fill_color = None
    made.outline_line_color = None
    for axis, wanted in ((made.xaxis[0], x), (made.yaxis[0], y)):
        axis.axis_label = wanted.title
        axis.axis_label_text_font_style = "normal"
        axis.minor_tick_line_color = None
        if wanted.ticks:
            axis.ticker = list(wanted.ticks)
            axis.major_label_overrides = dict(wanted.ticks.items())
    return made


def decade_ticks(values: Sequence[float]) -> dict[float, str]:
    """Powers of ten within some values, or 1, 2 and 5 of each where they span less than two; few in any case."""
    if not values:
        return {}
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    powers = range(low, high + 1, -(-(high - low) // _MAX_TICKS) or 1)
    mantissas = (1, 2, 5) if high - low <= _FINE_DECADES else (1,)
    ticks = [float(f"{mantissa}e{power}") for power in powers for mantissa in mantissas]
    return {
        tick: f"{tick:,.0f}" if 1 <= tick < _LARGEST_PLAIN else f"{tick:g}" for tick in ticks if 0 < tick < math.inf
    }


def add_hover(figure: Figure, names: Sequence[str]) -> None:
    """A label that shows these columns of whatever mark is under the pointer."""
    from bokeh.models import HoverTool

    renderers: list[Any] = list(figure.renderers)
    marks = [one for one in renderers if set(names) <= set(one.data_source.column_names)]
    figure.add_tools(HoverTool(renderers=marks, tooltips=[(name.replace("_", " "), f"@{name}") for name in names]))
