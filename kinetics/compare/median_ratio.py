"""How much slower: the ratio of two medians, with an interval that needs no random numbers.

Each median gets the interval between two of its own order statistics, which assumes no distribution; the two are
joined on the logarithm. Exchanging the sides inverts ratio and interval. The interval speaks of the scatter within
the two runs and of nothing else: what changed on the machine between them is not in it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

MIN_SAMPLES: Final = 5
CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class MedianRatio:
    """Candidate over base. Without enough samples on both sides `low` and `high` are None."""

    ratio: float
    low: float | None
    high: float | None

    @property
    def excludes_one(self) -> bool:
        """Whether the interval lies wholly on one side of 1."""
        return self.low is not None and self.high is not None and not self.low <= 1.0 <= self.high


def median_ratio(base_s: Sequence[float], candidate_s: Sequence[float]) -> MedianRatio:
    """Median of the candidate's samples over the base's, with its 95 % interval (94 % with five samples on a side).

    Raises: ValueError unless both sides have a sample and all samples are above 0.
    """
    base_s, candidate_s = sorted(base_s), sorted(candidate_s)
    if not base_s or not candidate_s or min(base_s[0], candidate_s[0]) <= 0:
        raise ValueError(f"a ratio needs samples above 0 on both sides, got {len(base_s)} and {len(candidate_s)}")
    base, candidate = statistics.median(base_s), statistics.median(candidate_s)
    if min(len(base_s), len(candidate_s)) < MIN_SAMPLES:
        return MedianRatio(ratio=candidate / base, low=None, high=None)
    base_low, base_high = median_interval(base_s)
    low, high = median_interval(candidate_s)
    down = math.hypot(math.log(candidate / low), math.log(base_high / base))
    up = math.hypot(math.log(high / candidate), math.log(base / base_low))
    ratio = candidate / base
    return MedianRatio(ratio=ratio, low=ratio * math.exp(-down), high=ratio * math.exp(up))


def median_interval(samples: Sequence[float]) -> tuple[float, float]:
    """The innermost two order statistics that hold the median with at least 95 % confidence, or the outermost two."""
    ordered, n = sorted(samples), len(samples)
    cut = max(_interval_rank(n) - 1, 0)
    return ordered[cut], ordered[n - 1 - cut]


@cache
def _interval_rank(n: int) -> int:
    """The most order statistics that may lie below the interval: their count is binomial, each side having 2.5 %."""
    from scipy.special import bdtr, bdtrik  # a comparison without samples starts without scipy

    tail = (1 - CONFIDENCE) / 2
    crossing = bdtrik(tail, n, 0.5)  # NaN where even the smallest count is likelier
    rank = max(0, math.ceil(crossing)) if math.isfinite(crossing) else 0
    return rank - 1 if rank and bdtr(rank - 1, n, 0.5) > tail else rank
