"""95 % intervals over questions: of a mean accuracy, of a difference of two, of a ratio of means.

Answers to one question are not independent of one another, so questions, not answers, are the unit that is drawn anew.
A benchmark has few of them, often 30, and near the floor or the ceiling the plain bootstrap sees no spread and covers
much less than it says. Two questions that nobody was asked mend that: one never solved and one always; of a
difference, one won by either side. `scripts/simulate_coverage.py` shows what each interval covers.

An accuracy's interval is that of the strategy it is of, asked the same questions by the thousand: not of the best
strategy there could be.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

CONFIDENCE: Final = 0.95
NUM_RESAMPLES: Final = 2000
LEVEL: Final = 0.02
"""A smaller difference in accuracy on a question is none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Interval:
    """Lower and upper ends, one of each per quantity."""

    low: FloatArray
    high: FloatArray

    @property
    def excludes_zero(self) -> NDArray[np.bool_]:
        """Whether the sign of a difference is clear."""
        return (self.low > 0) | (self.high < 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


def mean_interval(per_question: FloatArray, *, seed: int = 0) -> Interval:
    """Of the mean over questions of values from 0 to 1; `per_question`: [num_questions, ...]."""
    return _resampled(per_question, np.zeros(per_question.shape[1:]), np.ones(per_question.shape[1:]), seed=seed)


def difference_interval(per_question: FloatArray, *, seed: int = 0, confidence: float = CONFIDENCE) -> Interval:
    """Of the mean over questions of paired differences from -1 to 1; `per_question`: [num_questions, ...].

    The two added questions lie as far from zero as the largest difference seen. Where most questions are level, which
    near the ceiling they are, the few on which two strategies part are easily missed, and may part them altogether.
    """
    sizes = np.abs(per_question)
    reach = np.maximum(sizes.max(axis=0), (sizes < LEVEL).mean(axis=0) ** 4)
    return _resampled(per_question, -reach, reach, seed=seed, confidence=confidence)


def ratio_interval(numerators: FloatArray, denominators: FloatArray) -> Interval:
    """Of a product of means over a product of means, all of the same questions; [num_questions, num_factors] each.

    Student's t on the jackknife of the logarithm, with a quarter of the degrees of freedom: lengths and costs are
    skewed, and one of few questions may make most of both. The interval is everything with fewer than three questions,
    or means that are not above 0.
    """
    num_questions = len(numerators)
    sums = [values.sum(axis=0) - values for values in (numerators, denominators)]
    if num_questions < 3 or min(values.min() for values in sums) <= 0:
        return Interval(low=np.asarray(0.0), high=np.asarray(np.inf))
    from scipy.special import stdtrit  # a law without samples starts without scipy

    logarithms = np.log(sums[0]).sum(axis=1) - np.log(sums[1]).sum(axis=1)
    squares = float(((logarithms - logarithms.mean()) ** 2).sum())
    error = np.sqrt((num_questions - 1) / num_questions * squares)
    reach = float(stdtrit((num_questions - 1) / 4, 0.5 + CONFIDENCE / 2)) * error
    ratio = numerators.mean(axis=0).prod() / denominators.mean(axis=0).prod()
    return Interval(low=np.asarray(ratio * np.exp(-reach)), high=np.asarray(ratio * np.exp(reach)))


def _resampled(
    per_question: FloatArray, lowest: FloatArray, highest: FloatArray, *, seed: int, confidence: float = CONFIDENCE
) -> Interval:
    """Percentiles of the mean over whole questions drawn anew, two made ones among them.

    The same seed draws the same questions, whatever the quantity.
    """
    shape = per_question.shape[1:]
    columns = np.concatenate([per_question, lowest[None], highest[None]]).reshape(len(per_question) + 2, -1)
    # Along a grid of costs the same strategy is the best for long: each is resampled once.
    is_new = np.ones(columns.shape[1], dtype=bool)
    is_new[1:] = (columns[:, 1:] != columns[:, :-1]).any(axis=0)
    means = _draws(len(columns), seed) @ columns[:, is_new]
    low, high = np.quantile(means, ((1 - confidence) / 2, (1 + confidence) / 2), axis=0)[:, np.cumsum(is_new) - 1]
    return Interval(low=low.reshape(shape), high=high.reshape(shape))


@lru_cache(maxsize=16)
def _draws(num_questions: int, seed: int) -> FloatArray:
    """Shares of each question in each draw: [NUM_RESAMPLES, num_questions]."""
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(num_questions, np.full(num_questions, 1 / num_questions), size=NUM_RESAMPLES)
    return np.asarray(draws / num_questions)
