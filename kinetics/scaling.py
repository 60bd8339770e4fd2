"""Accuracy that test-time compute buys: pass@k, majority@k, accuracy within a budget, with intervals.

Samples are graded answers with their lengths; this file knows neither how they were generated nor what they cost.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import comb

import numpy as np
from numpy.typing import NDArray

from kinetics.attention_policy import AttentionPolicy

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question and its independent graded answers.

    `lengths` are generated tokens. `answers` are what majority voting counts: an empty string casts no vote.
    `graded_cuts` holds, by generation budget, grades of the texts cut there, where texts were at hand.

    Raises: ValueError if the answers are none or their facts differ in number.
    """

    question_id: str
    prompt_len: int
    lengths: tuple[int, ...]
    is_correct: tuple[bool, ...]
    answers: tuple[str, ...]
    graded_cuts: Mapping[int, tuple[bool, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.lengths or not len(self.lengths) == len(self.is_correct) == len(self.answers):
            raise ValueError(
                f"question {self.question_id} must have one length, grade and answer per trial and at least one trial, "
                f"got {len(self.lengths)}, {len(self.is_correct)} and {len(self.answers)}"
            )

    @property
    def num_trials(self) -> int:
        """Answers on record."""
        return len(self.lengths)

    @property
    def num_correct(self) -> int:
        """Answers graded correct."""
        return sum(self.is_correct)

    def subset(self, trials: Sequence[int]) -> "Question":
        """The same question with only the given trials."""
        return Question(
            question_id=self.question_id,
            prompt_len=self.prompt_len,
            lengths=tuple(self.lengths[i] for i in trials),
            is_correct=tuple(self.is_correct[i] for i in trials),
            answers=tuple(self.answers[i] for i in trials),
            graded_cuts={budget: tuple(cut[i] for i in trials) for budget, cut in self.graded_cuts.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSet:
    """All answers of one model under one attention policy to one set of questions.

    `has_estimated_lengths`: the source counts characters; token counts are estimates and every table must say so.
    """

    model: str
    dataset: str
    policy: AttentionPolicy
    questions: tuple[Question, ...]
    has_estimated_lengths: bool

    @property
    def question_ids(self) -> frozenset[str]:
        """Identities of the questions, for telling whether two sets compare."""
        return frozenset(question.question_id for question in self.questions)

    @property
    def min_trials(self) -> int:
        """Answers that every question has at least."""
        return min(question.num_trials for question in self.questions)


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


def bootstrap_interval(
    per_question: FloatArray, *, confidence: float = 0.95, num_resamples: int = 2000, seed: int = 0
) -> tuple[FloatArray, FloatArray]:
    """Percentile interval of the mean over questions, resampling whole questions.

    `per_question`: [num_questions, ...]. Answers to one question are not independent of one another, so questions,
    not answers, are the unit that is drawn.
    """
    num_questions = per_question.shape[0]
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(num_questions, np.full(num_questions, 1 / num_questions), size=num_resamples)
    means = np.tensordot(weights / num_questions, per_question, axes=1)
    tail = 50 * (1 - confidence)
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
