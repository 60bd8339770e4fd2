"""Slow drift of one case over many runs, which a comparison of two revisions cannot see. Pure.

The unit is the run: all launches of a file give one point, because they share an hour. The line through the points is
Theil and Sen's, the median of the slopes of all pairs, which a few bad hours do not move; its interval comes from
Kendall's rank statistic. Times are in units of what memory could read between the very same calls (the canary), so
that a machine that got slower as a whole does not pass for a slower kernel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from scipy import stats

from kinetics.gate.decision import MIN_MARGIN

CONFIDENCE: Final = 0.99
"""Of the two-sided interval of a slope."""
MIN_RUNS: Final = 6
"""Five runs in a row, each slower than the last, come up by chance more often than once in a hundred."""
MIN_SPAN_DAYS: Final = 1.0
"""What changes within a day is the machine's day, not the code."""
BUDGET: Final = 0.05
"""A case of which the interval rules out a slow-down by this much over the whole span is STEADY."""


class Drift(Enum):
    """What the runs of one case say together."""

    SLOWER = "SLOWER"
    FASTER = "FASTER"
    STEADY = "STEADY"
    """Not slower by the budget, over the whole span: shown, not assumed."""
    UNCLEAR = "UNCLEAR"
    """The runs spread too far to tell; more of them would."""
    TOO_FEW = "TOO FEW"
    """Too few runs, or too short a time between them, for an interval to mean anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One run of one case. `day`: when, in days. Logs of seconds times bytes per second, and of bytes per second."""

    day: float
    log_time: float
    log_canary: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """How the time of one case changed from its first run to its last: 0.05 is 5 % slower, with its 99 % interval.

    `canary_change`: how the read bandwidth of the machine changed meanwhile, by the same line. None: not judged.
    """

    drift: Drift
    num_runs: int
    span_days: float
    change: float | None = None
    lower: float | None = None
    upper: float | None = None
    canary_change: float | None = None
    reason: str = ""


def trend_of(points: Sequence[Point]) -> Trend:
    """The drift of one case, from one point a run, in any order.

    Source: Theil 1950, Sen 1968; `scipy.stats.theilslopes`.
    """
    days = [point.day for point in points]
    span_days = max(days) - min(days) if days else 0.0
    if reason := _too_few(len(points), span_days):
        return Trend(drift=Drift.TOO_FEW, num_runs=len(points), span_days=span_days, reason=reason)
    line = stats.theilslopes([point.log_time for point in points], days, alpha=CONFIDENCE)
    canary = stats.theilslopes([point.log_canary for point in points], days, alpha=CONFIDENCE)
    lower, upper = float(line.low_slope) * span_days, float(line.high_slope) * span_days
    return Trend(
        drift=_drift(lower, upper),
        num_runs=len(points),
        span_days=span_days,
        change=math.expm1(float(line.slope) * span_days),
        lower=math.expm1(lower),
        upper=math.expm1(upper),
        canary_change=math.expm1(float(canary.slope) * span_days),
    )


def exit_code(trends: Sequence[Trend], *, is_strict: bool) -> int:
    """1 SLOWER; 3 if no case could be judged; 5, if strict, UNCLEAR or TOO FEW; else 0."""
    found = {trend.drift for trend in trends}
    if Drift.SLOWER in found:
        return 1
    if found <= {Drift.TOO_FEW}:
        return 3
    return 5 if is_strict and found & {Drift.UNCLEAR, Drift.TOO_FEW} else 0


def _drift(lower: float, upper: float) -> Drift:
    if lower > math.log1p(MIN_MARGIN):
        return Drift.SLOWER
    if upper < -math.log1p(MIN_MARGIN):
        return Drift.FASTER
    return Drift.STEADY if upper < math.log1p(BUDGET) else Drift.UNCLEAR


def _too_few(num_runs: int, span_days: float) -> str:
    if num_runs < MIN_RUNS:
        return f"{num_runs} run{'s' * (num_runs > 1)}, {MIN_RUNS} are needed"
    if span_days < MIN_SPAN_DAYS:
        return f"{num_runs} runs within {24 * span_days:.1f} hours, a day is needed"
    return ""
