"""Runs against a baseline on the same device: time ratios with their intervals, the farthest from 1 first.

Between devices nothing regresses: files of another device than the baseline's are named, never held against it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from kinetics.compare.comparison import Comparison, MatchedCase
from kinetics.compare.median_ratio import MedianRatio
from kinetics.compare.tables import HEADINGS, left_out_table, remarks
from kinetics.report.style import bounded_log, ratio_reach, ratio_ticks
from kinetics.specs.units import format_seconds
from kinetics.tables.display import table_for_people
from kinetics.tables.quantity import Quantity, show
from kinetics.tables.table import Table

MAX_CASES: Final = 40
"""Lines of a run; of several runs, together as many as of three."""
SLOWER, FASTER, OPEN, DISTURBED = "slower", "faster", "open", "disturbed"
_LARGEST_REACH: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioLine:
    """One case: its time over the baseline's, and where ratio and interval lie on the axis, in percent of its width.

    `is_cut`: the axis ends before the interval does.
    """

    case: str
    provider: str
    before: str
    now: str
    ratio: str
    interval: str
    verdict: str
    low: float
    middle: float
    high: float
    is_cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioTable:
    """A run against the baseline. `ticks`: places on the axis, in percent, and their ratios; 1 is at 50."""

    file: str
    num_cases: int
    num_slower: int
    num_faster: int
    num_disturbed: int
    lines: tuple[RatioLine, ...]
    ticks: tuple[tuple[float, str], ...]
    remarks: tuple[str, ...]
    left_out: Table


def ratio_table(comparison: Comparison, *, max_cases: int = MAX_CASES) -> RatioTable:
    """Counts of all cases, and the lines of those farthest from 1."""
    verdicts = [case_verdict(case) for case in comparison.cases]
    chosen = sorted(comparison.cases, key=lambda case: -abs(bounded_log(ratio_of(case).ratio)))[:max_cases]
    reach = min(ratio_reach(end for case in chosen for end in _ends(ratio_of(case))), _LARGEST_REACH)
    return RatioTable(
        file=comparison.files[1].label,
        num_cases=len(verdicts),
        num_slower=verdicts.count(SLOWER),
        num_faster=verdicts.count(FASTER),
        num_disturbed=verdicts.count(DISTURBED),
        lines=tuple(_line(case, reach) for case in chosen),
        ticks=tuple((place(tick, reach), text) for tick, text in ratio_ticks(reach).items()),
        remarks=(*remarks(comparison), *_untold(comparison)),
        left_out=table_for_people(left_out_table(comparison.left_out), HEADINGS),
    )


def ratio_of(case: MatchedCase) -> MedianRatio:
    """The ratio of a case that two files share."""
    ratio = case.entries[1].ratio
    assert ratio is not None
    return ratio


def case_verdict(case: MatchedCase) -> str:
    """What a case says: nothing if either side was disturbed."""
    is_disturbed = any(entry.row.fields.get("disturbed") for entry in case.entries)
    return DISTURBED if is_disturbed else verdict(ratio_of(case))


def verdict(ratio: MedianRatio) -> str:
    """Slower, faster, or open: what the interval of two separate runs can tell."""
    if not ratio.excludes_one:
        return OPEN
    return SLOWER if ratio.ratio > 1 else FASTER


def place(ratio: float, reach: float) -> float:
    """Where a ratio lies on the axis from 1 / reach to reach: 1 at 50 percent, equal factors equally far."""
    return min(100.0, max(0.0, 50 + 50 * bounded_log(ratio) / math.log(reach)))


def _line(case: MatchedCase, reach: float) -> RatioLine:
    before, now = case.entries[0].row, case.entries[1].row
    ratio = ratio_of(case)
    low, high = _ends(ratio)
    shown = [show(end, Quantity.TIME_RATIO) for end in (ratio.low, ratio.high)]
    return RatioLine(
        case=case.label,
        provider=case.pairing,
        before=format_seconds(before.median_s),
        now=format_seconds(now.median_s),
        ratio=show(ratio.ratio, Quantity.TIME_RATIO),
        interval=f"{shown[0]} to {shown[1]}" if ratio.low is not None else "too few samples",
        verdict=case_verdict(case),
        low=place(low, reach),
        middle=place(ratio.ratio, reach),
        high=place(high, reach),
        is_cut=low < 1 / reach or high > reach,
    )


def _ends(ratio: MedianRatio) -> tuple[float, float]:
    return ratio.low or ratio.ratio, ratio.high or ratio.ratio


def _untold(comparison: Comparison) -> list[str]:
    """Facts that only one of the files tells: the devices may differ in them."""
    base, file = comparison.files[:2]
    untold = base.identity.untold(file.identity)
    return [f"Only one of the two files tells {', '.join(untold)}: the devices may differ in these."] if untold else []
