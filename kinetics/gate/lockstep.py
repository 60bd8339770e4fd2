"""Rounds in lockstep: the same call on every side, in random order and back again, and one number from all rounds.

Knows neither processes nor kernels: a side is whatever can run its call once and say how long it took.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol


class Sample(NamedTuple):
    """One timed call, and the read bandwidth seen while the cache was evicted before it."""

    seconds: float
    canary_bytes_per_s: float


class Runnable(Protocol):
    """One side of the comparison, prepared for one case."""

    def run_once(self) -> Sample:
        """Evict the cache, run the call, return its time."""


Rounds = dict[str, list[tuple[Sample, Sample]]]
"""Per side, one pair of samples a round: on the way there and on the way back."""


def run_rounds(sides: Mapping[str, Runnable], *, num_rounds: int, rng: random.Random) -> Rounds:
    """Take `num_rounds` rounds; each visits all sides in a random order, then in its reverse (ABBA or BAAB).

    The reverse makes a drift that is linear within the round fall on all sides alike.
    """
    rounds: Rounds = {name: [] for name in sides}
    for _ in range(num_rounds):
        order = rng.sample(list(sides), len(sides))
        there = {name: sides[name].run_once() for name in order}
        back = {name: sides[name].run_once() for name in reversed(order)}
        for name in sides:
            rounds[name].append((there[name], back[name]))
    return rounds


def log_ratio(base: Sequence[tuple[Sample, Sample]], candidate: Sequence[tuple[Sample, Sample]]) -> float:
    """Theta of one launch: the median over rounds of log(candidate / base)."""
    return statistics.median(round_log_ratios(base, candidate))


def round_log_ratios(base: Sequence[tuple[Sample, Sample]], candidate: Sequence[tuple[Sample, Sample]]) -> list[float]:
    """log(candidate / base) of every round, of the geometric mean of its two calls."""
    return [_log_s(b) - _log_s(a) for a, b in zip(base, candidate, strict=True)]


def median_s(pairs: Sequence[tuple[Sample, Sample]]) -> float:
    """Median seconds per call of one side."""
    return statistics.median(sample.seconds for pair in pairs for sample in pair)


def median_canary(pairs: Sequence[tuple[Sample, Sample]]) -> float:
    """Median read bandwidth seen between the calls of one side."""
    return statistics.median(sample.canary_bytes_per_s for pair in pairs for sample in pair)


def _log_s(pair: tuple[Sample, Sample]) -> float:
    return 0.5 * (math.log(pair[0].seconds) + math.log(pair[1].seconds))
