"""Runs against a baseline on the same device: time ratios with their intervals, the farthest from 1 first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from kinetics.compare.comparison import Comparison, MatchedCase
from kinetics.compare.median_ratio import MedianRatio
from kinetics.report.style import GREY, PALETTE, Axis, add_hover, add_legend, new_figure
from kinetics.specs.units import format_seconds

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure  # noqa: N812 - Bokeh's class is spelt like a function

MAX_CASES: Final = 40
SLOWER, FASTER, OPEN = "slower", "faster", "interval holds 1, or none"
_COLORS: Final = {SLOWER: PALETTE[1], FASTER: PALETTE[0], OPEN: GREY}


def draw_ratios(comparison: Comparison) -> Figure:
    """One line a case: its time over the baseline's. Grey where the interval holds 1 or there is none."""
    from bokeh.models.annotations import Span

    cases = sorted(comparison.cases, key=lambda case: -abs(math.log(ratio_of(case).ratio)))[:MAX_CASES][::-1]
    base = comparison.files[0]
    figure = new_figure(
        Axis(title=f"time / time of the baseline ({base.commit[:7] or base.label})"),
        Axis(title="", limits=(-0.7, len(cases) - 0.3)),
        height=120 + 22 * len(cases),
    )
    figure.yaxis[0].ticker = list(range(len(cases)))
    figure.yaxis[0].major_label_overrides = {i: f"{case.label}, {case.pairing}" for i, case in enumerate(cases)}
    figure.ygrid.grid_line_color = None
    figure.add_layout(Span(location=1.0, dimension="height", line_color=GREY, line_dash="dotted", line_width=2))
    for name, color in _COLORS.items():
        chosen = [(row, case) for row, case in enumerate(cases) if verdict(ratio_of(case)) == name]
        if chosen:
            columns = _columns(chosen)
            look: dict[str, Any] = {"color": color, "legend_label": name, "name": name}
            figure.segment("low", "y", "high", "y", source=columns, line_width=1.5, **look)
            figure.scatter("ratio", "y", source=columns, size=9, **look)
    add_legend(figure)
    add_hover(figure, ("case", "before", "now", "time_ratio"))
    return figure


def ratio_of(case: MatchedCase) -> MedianRatio:
    """The ratio of a case that two files share."""
    ratio = case.entries[1].ratio
    assert ratio is not None
    return ratio


def verdict(ratio: MedianRatio) -> str:
    """Slower, faster, or open: what the interval of two separate runs can tell."""
    if not ratio.excludes_one:
        return OPEN
    return SLOWER if ratio.ratio > 1 else FASTER


def _columns(chosen: Sequence[tuple[int, MatchedCase]]) -> dict[str, Any]:
    ratios = [ratio_of(case) for _, case in chosen]
    spans = [(ratio.low or ratio.ratio, ratio.high or ratio.ratio) for ratio in ratios]
    return {
        "y": [row for row, _ in chosen],
        "ratio": [ratio.ratio for ratio in ratios],
        "low": [low for low, _ in spans],
        "high": [high for _, high in spans],
        "case": [case.entries[1].row.name for _, case in chosen],
        "before": [format_seconds(case.entries[0].row.median_s) for _, case in chosen],
        "now": [format_seconds(case.entries[1].row.median_s) for _, case in chosen],
        "time_ratio": [
            f"{r.ratio:.3f} ({low:.3f} to {high:.3f})" for r, (low, high) in zip(ratios, spans, strict=True)
        ],
    }
