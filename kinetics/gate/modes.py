"""Whether the launches of a case fall into two groups, as after an unlucky layout of memory or a clock with two steps.

Pure. The values are split in two where that leaves the least spread within the groups. Of normal values a share of
about 1 - 2 / pi of the squares is left then; the flag asks for less by a distance that normal values of any number
reach in about one of a thousand sets (simulated for 12 to 300 values).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

MIN_VALUES = 12
_MIN_SHARE = 0.2
"""Of the values, in the smaller group: a few stray launches are no second mode."""
_SHARE_LEFT_OF_NORMAL = 1.0 - 2.0 / math.pi
_STRAY = 1.05
"""Times 1 / sqrt(number of values)."""
_MOST_SHARE_LEFT = 0.16
"""Two halves of a flat spread, which has no modes, keep a quarter on average."""


class TwoModes(NamedTuple):
    """The centres of two groups of log-ratios, the smaller centre first, and the share of values in the second."""

    low: float
    high: float
    share_of_high: float


def two_modes(values: Sequence[float]) -> TwoModes | None:
    """The two groups that the values fall into; None if one group explains them, or with fewer than 12 values."""
    count = len(values)
    if count < MIN_VALUES:
        return None
    ordered = sorted(values)
    least = math.ceil(_MIN_SHARE * count)
    split = min(range(least, count - least + 1), key=lambda at: _squares(ordered[:at]) + _squares(ordered[at:]))
    low, high = ordered[:split], ordered[split:]
    left, total = _squares(low) + _squares(high), _squares(ordered)
    if left >= min(_MOST_SHARE_LEFT, _SHARE_LEFT_OF_NORMAL - _STRAY / math.sqrt(count)) * total:
        return None
    return TwoModes(low=statistics.fmean(low), high=statistics.fmean(high), share_of_high=len(high) / count)


def _squares(values: Sequence[float]) -> float:
    centre = math.fsum(values) / len(values)
    return math.fsum((value - centre) ** 2 for value in values)
