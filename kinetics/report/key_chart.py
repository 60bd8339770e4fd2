"""The small chart beside the key figure: the gain of sparse attention over context, with intervals, as plain SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kinetics.report.conclusion import KeyFigure
from kinetics.report.style import bounded_log
from kinetics.specs.counts import short

WIDTH, HEIGHT = 420, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 18, 16, 30
_MAX_LABELS: Final = 6
_GAINS: Final = (0.01, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1000.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChart:
    """Places in the units of the drawing. `level`: where the gain is 1."""

    marks: tuple[tuple[float, float], ...]
    spans: tuple[tuple[float, float, float], ...]
    level: float
    x_labels: tuple[tuple[float, str], ...]
    y_labels: tuple[tuple[float, str], ...]
    text: str

    @property
    def line(self) -> str:
        """The points of the line, as SVG writes them."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.marks)

    @property
    def right(self) -> int:
        """The end of the horizontal axis."""
        return WIDTH - _RIGHT


def key_chart(figure: KeyFigure) -> KeyChart | None:
    """The chart of a figure; None with a single context, which is no curve."""
    points = figure.points
    contexts = [point.context_len for point in points]
    if len(set(contexts)) < 2:
        return None
    ends = [(p.gain.low or p.gain.ratio, p.gain.high or p.gain.ratio) for p in points]
    logs = [bounded_log(end) for pair in ends for end in pair] + [0.0]
    first, last = math.log(min(contexts)), math.log(max(contexts))
    xs = [_scale(math.log(one), first, last, _LEFT, WIDTH - _RIGHT) for one in contexts]

    def height_of(gain: float) -> float:
        return _scale(bounded_log(gain), min(logs), max(logs), HEIGHT - _BOTTOM, _TOP)

    labels = list(zip(xs, map(short, contexts), strict=True))
    shown = [gain for gain in _GAINS if min(logs) <= math.log(gain) <= max(logs)]
    return KeyChart(
        marks=tuple((x, height_of(point.gain.ratio)) for x, point in zip(xs, points, strict=True)),
        spans=tuple((x, height_of(low), height_of(high)) for x, (low, high) in zip(xs, ends, strict=True)),
        level=height_of(1.0),
        x_labels=tuple(_thinned(labels)),
        y_labels=tuple((height_of(gain), f"{gain:g}x") for gain in shown),
        text=", ".join(f"{short(p.context_len)}: {p.gain.ratio:.3g}x" for p in points),
    )


def _scale(value: float, low: float, high: float, start: float, end: float) -> float:
    share = (value - low) / (high - low) if high > low else 0.5
    return start + share * (end - start)


def _thinned(labels: Sequence[tuple[float, str]]) -> Sequence[tuple[float, str]]:
    """Few enough to stand side by side, the last one always."""
    step = -(-len(labels) // _MAX_LABELS)
    return labels[::-1][::step][::-1]
