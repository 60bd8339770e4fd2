"""Runs against a baseline on the same device: time ratios with their intervals, the farthest from 1 first."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from kinetics.compare import Comparison, Entry, MatchedCase
from kinetics.report.style import GREY, PALETTE, hover, new_figure, safe
from kinetics.units import format_seconds

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAX_CASES: Final = 40
_SLOWER, _FASTER = PALETTE[1], PALETTE[0]


def draw_ratios(comparison: Comparison) -> Figure:
    """One line a case: its time over the baseline's. Grey where the interval holds 1 or there is none."""
    cases = sorted(comparison.cases, key=lambda case: -abs(math.log(_ratio(case))))[:MAX_CASES][::-1]
    figure = new_figure(
        x={"title": f"time / baseline ({safe(comparison.files[0].commit[:7] or comparison.files[0].label)})"},
        y={"tickvals": list(range(len(cases))), "ticktext": [safe(f"{c.label}, {c.pairing}") for c in cases]},
        height=110 + 22 * len(cases),
    )
    figure.add_vline(x=1.0, line={"color": GREY, "width": 1.5, "dash": "dot"})
    for name, color in (("slower", _SLOWER), ("faster", _FASTER), ("interval holds 1, or none", GREY)):
        chosen = [(row, case.entries) for row, case in enumerate(cases) if _verdict_color(case.entries[1]) == color]
        if not chosen:
            continue
        ratios = [(entries[1].ratio.ratio, entries[1].ratio) for _, entries in chosen if entries[1].ratio]
        figure.add_scatter(
            x=[value for value, _ in ratios],
            y=[row for row, _ in chosen],
            error_x={
                "type": "data", "symmetric": False, "thickness": 1.5, "width": 3,
                "array": [(ratio.high or value) - value for value, ratio in ratios],
                "arrayminus": [value - (ratio.low or value) for value, ratio in ratios],
            },
            mode="markers", marker={"color": color, "size": 9}, name=name, hoverinfo="text",
            text=[_describe(entries[0], entries[1]) for _, entries in chosen],
        )  # fmt: skip
    return figure


def _describe(base: Entry, entry: Entry) -> str:
    times = f"{format_seconds(base.row.median_s)} before, {format_seconds(entry.row.median_s)} now"
    ratio = entry.ratio
    interval = f" ({ratio.low:.3f} to {ratio.high:.3f})" if ratio and ratio.low and ratio.high else ""
    return hover([entry.row.name, times, f"ratio {ratio.ratio if ratio else 1.0:.3f}{interval}"])


def _ratio(case: MatchedCase) -> float:
    ratio = case.entries[1].ratio
    return ratio.ratio if ratio else 1.0


def _verdict_color(entry: Entry) -> str:
    ratio = entry.ratio
    if ratio is None or not ratio.excludes_one:
        return GREY
    return _SLOWER if ratio.ratio > 1 else _FASTER
