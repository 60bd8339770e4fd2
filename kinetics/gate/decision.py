"""From log-ratios of launches to a verdict: the statistics of one case, pure.

The unit is the launch: a fresh pair of processes, whose rounds give one number, theta = the median over rounds of
log(candidate / baseline). Samples within a launch share its memory layout and its hour of the day; only launches
count as replicates. A case is SLOW if a one-sided 99 % t bound on the mean of theta over launches lies above the
margin, and a second look at as many new launches says the same. These two looks are all there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache

from scipy import stats

CONFIDENCE = 0.99
MIN_MARGIN = 0.01
"""A slow-down below 1 % is not worth a red build, and identical code is not identical to better than that."""
MIN_LAUNCHES = 3
MAX_LAUNCHES_NEEDED = 200


class Verdict(Enum):
    """What the gate says of one case."""

    SAME = "SAME"
    """Not slower by more than the margin: shown, not assumed."""
    FAST = "FAST"
    SLOW = "SLOW"
    AMBIGUOUS = "AMBIGUOUS"
    """The launches do not tell; more of them would."""
    INVALID = "INVALID"
    """No verdict can rest on this evidence."""
    WRONG = "WRONG"
    """The candidate computes something wrong, or crashes, again and again, where the baseline does not."""
    INCOMPARABLE = "INCOMPARABLE"
    """The stored baseline is of another machine, setting or too few launches."""
    NEW = "NEW"
    """The baseline cannot run it, or computes something wrong."""
    MISSING = "MISSING"
    """The baseline runs it, the candidate cannot."""

    @property
    def is_sound(self) -> bool:
        """Whether times taken under this verdict are those of a right kernel on a machine that can be judged."""
        return self not in (Verdict.INVALID, Verdict.WRONG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Launches of one case seen together, in log-ratios: mean, SD, and the two one-sided 99 % bounds of the mean."""

    num_launches: int
    mean: float
    sd: float
    lower: float
    upper: float

    @property
    def ratio(self) -> float:
        """Candidate time over baseline time."""
        return math.exp(self.mean)

    def after(self, num_launches: int) -> Look:
        """What so many launches would show, mean and SD staying as they are."""
        return _look(num_launches, self.mean, self.sd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The verdict on one case, the looks it rests on, and how many launches would settle an AMBIGUOUS one.

    `num_launches_needed` is None where the verdict is settled, or where 200 launches would not settle it.
    """

    verdict: Verdict
    looks: tuple[Look, ...]
    num_launches_needed: int | None = None


def look_at(log_ratios: Sequence[float]) -> Look:
    """Mean, SD and bounds of a set of launches.

    Raises: ValueError with fewer than three launches, or if one of them is not finite.
    """
    count = len(log_ratios)
    if count < MIN_LAUNCHES:
        raise ValueError(f"a verdict needs at least {MIN_LAUNCHES} launches, got {count}; raise --launches")
    if not all(math.isfinite(one) for one in log_ratios):
        raise ValueError(f"log-ratios must be finite, got {list(log_ratios)}")
    mean = math.fsum(log_ratios) / count
    sd = math.sqrt(math.fsum((one - mean) ** 2 for one in log_ratios) / (count - 1))
    return _look(count, mean, sd)


def judge(look: Look, *, margin: float) -> Verdict:
    """SLOW, FAST, SAME or AMBIGUOUS by one look alone. `margin` is relative: 0.01 is 1 %."""
    limit = math.log1p(margin)
    if look.lower > limit:
        return Verdict.SLOW
    if look.upper < -limit:
        return Verdict.FAST
    return Verdict.SAME if look.upper < limit else Verdict.AMBIGUOUS


def needs_confirmation(verdict: Verdict) -> bool:
    """Whether a first look that says this must be repeated with new launches before anyone hears of it."""
    return verdict in (Verdict.SLOW, Verdict.FAST)


def decide(first: Sequence[float], second: Sequence[float] | None, *, margin: float) -> Decision:
    """The verdict on one case from the log-ratios of its first launches and, if it was flagged, of new ones.

    Looks that disagree leave it AMBIGUOUS, unless all launches together show that it is the SAME.
    """
    look = look_at(first)
    verdict = judge(look, margin=margin)
    if second is None or not needs_confirmation(verdict):
        return Decision(verdict=verdict, looks=(look,), num_launches_needed=_needed(verdict, look, margin))
    new_look, all_looks = look_at(second), look_at([*first, *second])
    if judge(new_look, margin=margin) is not verdict:
        verdict = Verdict.SAME if judge(all_looks, margin=margin) is Verdict.SAME else Verdict.AMBIGUOUS
    return Decision(verdict=verdict, looks=(look, new_look), num_launches_needed=_needed(verdict, all_looks, margin))


def launches_to_settle(look: Look, *, margin: float) -> int | None:
    """Launches after which SLOW or SAME would be expected, if mean and SD stay as they are; None if over 200."""
    distance = abs(look.mean - math.log1p(margin))
    counts = range(look.num_launches + 1, MAX_LAUNCHES_NEEDED + 1)
    return next((count for count in counts if _half_width(look.sd, count) < distance), None)


def _needed(verdict: Verdict, look: Look, margin: float) -> int | None:
    return launches_to_settle(look, margin=margin) if verdict is Verdict.AMBIGUOUS else None


def _look(count: int, mean: float, sd: float) -> Look:
    half_width = _half_width(sd, count)
    return Look(num_launches=count, mean=mean, sd=sd, lower=mean - half_width, upper=mean + half_width)


def _half_width(sd: float, num_launches: int) -> float:
    return critical_t(num_launches) * sd / math.sqrt(num_launches)


@cache
def critical_t(num_launches: int) -> float:
    """The one-sided 99 % quantile of Student's t for the mean of so many launches."""
    return float(stats.t.ppf(CONFIDENCE, num_launches - 1))
