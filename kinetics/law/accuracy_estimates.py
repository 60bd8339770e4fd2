"""Accuracy from graded samples: pass@k, what a length cap leaves of it, and how answers ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb, expm1, fsum, log1p
from typing import Final

import numpy as np

from kinetics.samples.sample_set import Question, SampleSet

EXACT_SAMPLES: Final = 4096
"""Answers to a question up to which pass@k is counted in whole numbers."""
MANY_CUT_OFF: Final = 0.2
"""A curve says so if a larger share of its answers was cut off: more tokens might have made them right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Shares of answers, averaged over questions: right, cut off by the cap before they were, wrong."""

    right: float
    cut_off: float

    @property
    def wrong(self) -> float:
        """The rest: ended by themselves, and not right."""
        return max(0.0, round(1 - self.right - self.cut_off, 12))


@lru_cache(maxsize=65536)
def coverage(num_samples: int, num_correct: int, *, trials: int) -> float:
    """Probability that at least one of `trials` answers, drawn without replacement, is correct: unbiased pass@k.

    Raises: ValueError if more trials are asked for than there are samples, or more are correct than there are.
    """
    if not 0 <= num_correct <= num_samples:
        raise ValueError(f"correct must lie in 0..samples, got {num_correct} correct of {num_samples} samples")
    if not 1 <= trials <= num_samples:
        raise ValueError(f"trials must lie in 1..samples, got {trials} trials of {num_samples} samples; add samples")
    if num_samples > EXACT_SAMPLES:
        return _coverage_of_many(num_samples, num_correct, trials)
    all_draws = comb(num_samples, trials)
    return (all_draws - comb(num_samples - num_correct, trials)) / all_draws


def _coverage_of_many(num_samples: int, num_correct: int, trials: int) -> float:
    """`coverage` as one minus a product of as many factors as there are draws or correct answers, whichever is less."""
    if trials > num_samples - num_correct:
        return 1.0
    few, many = sorted((num_correct, trials))
    return -expm1(fsum(log1p(-many / (num_samples - i)) for i in range(few)))


def num_correct_within(question: Question, cap: int | None) -> int:
    """How many answers are correct if generation stops after `cap` tokens; None stops none.

    Those that had ended by then; but if the cut texts were graded, as the published scripts do, their grades.
    """
    if cap is None:
        return question.num_correct
    if cap in question.graded_cuts:
        return sum(question.graded_cuts[cap])
    pairs = zip(question.is_correct, question.lengths, strict=True)
    return sum([is_correct and length <= cap for is_correct, length in pairs])


def num_ended(question: Question, caps: Sequence[int | None]) -> tuple[list[int], list[int]]:
    """How many answers are right, and how many are cut off before they are, under each cap; None stops none."""
    lengths = np.array(question.lengths)
    is_correct, was_cut = np.array(question.is_correct, dtype=bool), np.array(question.cut_off, dtype=bool)
    is_longer = lengths > np.array([lengths.max() if cap is None else cap for cap in caps])[:, None]
    is_right = is_correct & ~is_longer
    for row, cap in enumerate(caps):
        if cap is not None and cap in question.graded_cuts:
            is_right[row] = question.graded_cuts[cap]
    is_cut = (was_cut | is_longer) & ~is_right
    return is_right.sum(axis=1).tolist(), is_cut.sum(axis=1).tolist()


def outcomes_within(samples: SampleSet, caps: Sequence[int | None]) -> list[Outcomes]:
    """How the answers of a set would end under each cap that stops them earlier than their own."""
    shares = np.array([np.array(num_ended(question, caps)) / question.num_trials for question in samples.questions])
    return [Outcomes(right=right, cut_off=cut_off) for right, cut_off in shares.mean(axis=0).T.tolist()]


def outcomes(samples: SampleSet) -> Outcomes:
    """How the answers of a set ended."""
    return outcomes_within(samples, [None])[0]


def mean_coverage(samples: SampleSet, *, trials: int) -> float:
    """pass@k averaged over questions."""
    return float(np.mean([coverage(q.num_trials, q.num_correct, trials=trials) for q in samples.questions]))


def mean_length(samples: SampleSet) -> float:
    """Generated tokens per answer, averaged over questions."""
    return float(np.mean([np.mean(question.lengths) for question in samples.questions]))
