"""Accuracy from graded samples: pass@k, majority, and bootstrap intervals over questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from math import comb

import numpy as np

from kinetics.samples.sample_set import FloatArray, Question, SampleSet


@lru_cache(maxsize=65536)
def coverage(num_samples: int, num_correct: int, *, trials: int) -> float:
    """Probability that at least one of `trials` answers, drawn without replacement, is correct: unbiased pass@k.

    Raises: ValueError if more trials are asked for than there are samples, or more are correct than there are.
    """
    if not 0 <= num_correct <= num_samples:
        raise ValueError(f"correct must lie in 0..samples, got {num_correct} correct of {num_samples} samples")
    if not 1 <= trials <= num_samples:
        raise ValueError(f"trials must lie in 1..samples, got {trials} trials of {num_samples} samples; add samples")
    all_draws = comb(num_samples, trials)
    return (all_draws - comb(num_samples - num_correct, trials)) / all_draws


def majority(question: Question, *, trials: int, num_draws: int = 1000, seed: int = 0) -> float:
    """Probability that the most frequent answer of `trials` drawn ones is correct; tied answers share the credit.

    Estimated from `num_draws` seeded draws without replacement, exact when all trials are drawn.

    Raises: ValueError if more trials are asked for than there are.
    """
    if not 1 <= trials <= question.num_trials:
        raise ValueError(f"trials must lie in 1..{question.num_trials} for {question.question_id}, got {trials}")
    if trials == question.num_trials:
        return _majority_credit(question, range(trials))
    rng = np.random.default_rng(seed)
    draws = (rng.choice(question.num_trials, size=trials, replace=False).tolist() for _ in range(num_draws))
    return sum(_majority_credit(question, draw) for draw in draws) / num_draws


def correct_within(question: Question, budget: int) -> tuple[bool, ...]:
    """Which answers are correct if generation stops after `budget` tokens.

    Those that had ended by then; but if the cut texts were graded, as the published scripts do, their grades.
    """
    if budget in question.graded_cuts:
        return question.graded_cuts[budget]
    return tuple(
        correct and length <= budget for correct, length in zip(question.is_correct, question.lengths, strict=True)
    )


def mean_coverage(samples: SampleSet, *, trials: int) -> float:
    """pass@k averaged over questions."""
    return float(np.mean([coverage(q.num_trials, q.num_correct, trials=trials) for q in samples.questions]))


def mean_length(samples: SampleSet) -> float:
    """Generated tokens per answer, averaged over questions."""
    return float(np.mean([np.mean(question.lengths) for question in samples.questions]))


def resampled_means(per_question: FloatArray, *, num_resamples: int = 2000, seed: int = 0) -> FloatArray:
    """Means over questions drawn anew, whole questions at a time: [num_resamples, ...] from [num_questions, ...].

    Answers to one question are not independent of one another, so questions, not answers, are the unit that is drawn.
    The same seed draws the same questions, so that differences between quantities are paired.
    """
    num_questions = per_question.shape[0]
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(num_questions, np.full(num_questions, 1 / num_questions), size=num_resamples)
    return np.asarray(np.tensordot(draws / num_questions, per_question, axes=1))


def bootstrap_interval(
    per_question: FloatArray, *, confidence: float = 0.95, num_resamples: int = 2000, seed: int = 0
) -> tuple[FloatArray, FloatArray]:
    """Percentile interval of the mean over questions; `per_question`: [num_questions, ...]."""
    tail = 50 * (1 - confidence)
    means = resampled_means(per_question, num_resamples=num_resamples, seed=seed)
    low, high = np.percentile(means, [tail, 100 - tail], axis=0)
    return low, high


def _majority_credit(question: Question, draw: Sequence[int]) -> float:
    votes = Counter(question.answers[i] for i in draw if question.answers[i])
    if not votes:
        return 0.0
    most = max(votes.values())
    winners = [answer for answer, count in votes.items() if count == most]
    correct = {question.answers[i] for i in draw if question.is_correct[i]}
    return sum(answer in correct for answer in winners) / len(winners)
