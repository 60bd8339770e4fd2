"""Accuracy by voting among drawn answers: majority, weighted majority, and stopping once enough agree.

No verifier is needed, so these are what a person without the right answer can do. Estimated from seeded draws without
replacement; answers are compared as text, and an empty one casts no vote. Tied answers share the credit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kinetics.samples.sample_set import FloatArray, Question

NUM_DRAWS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyStop:
    """What drawing one answer after the other until enough agree comes to.

    `num_answers`: drawn on average. As answers are drawn alike, they are as long as others on average, and an answer's
    mean cost times this is the mean cost (Wald).
    """

    accuracy: float
    num_answers: float


def majority(question: Question, *, trials: int, num_draws: int = 1000, seed: int = 0) -> float:
    """Probability that the most frequent answer of `trials` drawn ones is right.

    Raises: ValueError if more trials are asked for than there are.
    """
    return majorities(question, trials=[trials], num_draws=num_draws, seed=seed)[0]


def majorities(
    question: Question,
    *,
    trials: Sequence[int],
    weights: Sequence[float] | None = None,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
) -> list[float]:
    """One probability per number of trials that the answer with the most votes is right; `weights`: of each answer.

    Raises: ValueError if more trials are asked for than there are.
    """
    if not all(1 <= n <= question.num_trials for n in trials):
        raise ValueError(f"trials must lie in 1..{question.num_trials} for {question.question_id}, got {max(trials)}")
    ballots = _ballots(question, weights, most=max(trials), num_draws=num_draws, seed=seed)
    return [float(_credit(ballots.votes[:, n - 1], ballots.is_right).mean()) for n in trials]


def stop_early(
    question: Question, *, agree: Sequence[int], most: int, num_draws: int = NUM_DRAWS, seed: int = 0
) -> list[EarlyStop]:
    """One outcome per number of answers that must agree; of at most `most` answers the most frequent one counts.

    Raises: ValueError if there are fewer answers than `most`.
    """
    if not 1 <= most <= question.num_trials:
        raise ValueError(f"trials must lie in 1..{question.num_trials} for {question.question_id}, got {most}")
    ballots = _ballots(question, None, most=most, num_draws=num_draws, seed=seed)
    highest = ballots.votes.max(axis=2, initial=0.0)
    outcomes = []
    for wanted in agree:
        agreed = highest >= wanted
        stops = np.where(agreed.any(axis=1), agreed.argmax(axis=1), most - 1)
        credit = _credit(ballots.votes[np.arange(len(stops)), stops], ballots.is_right)
        outcomes.append(EarlyStop(accuracy=float(credit.mean()), num_answers=float(stops.mean() + 1)))
    return outcomes


def weights_by_length(question: Question) -> list[float]:
    """A vote's weight where the samples carry none: short answers are right more often than long ones."""
    return [1 / max(1, length) for length in question.lengths]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Ballots:
    """`votes`: for each answer after each drawn trial, [num_draws, num_trials, num_answers]; `is_right`: of each."""

    votes: FloatArray
    is_right: NDArray[np.bool_]


def _ballots(question: Question, weights: Sequence[float] | None, *, most: int, num_draws: int, seed: int) -> _Ballots:
    names = {answer: i for i, answer in enumerate(dict.fromkeys(filter(None, question.answers)))}
    by_trial = np.zeros((question.num_trials, len(names)), dtype=np.float32)
    is_right = np.zeros(len(names), dtype=bool)
    for trial, (answer, is_correct) in enumerate(zip(question.answers, question.is_correct, strict=True)):
        if answer:
            by_trial[trial, names[answer]] = weights[trial] if weights else 1.0
            is_right[names[answer]] |= is_correct
    rng = np.random.default_rng(seed)
    draws = rng.permuted(np.tile(np.arange(question.num_trials), (num_draws, 1)), axis=1)[:, :most]
    return _Ballots(votes=by_trial[draws].cumsum(axis=1), is_right=is_right)


def _credit(votes: FloatArray, is_right: NDArray[np.bool_]) -> FloatArray:
    """Share of right answers among those with the most votes, per draw; 0 without any vote."""
    highest = votes.max(axis=1, initial=0.0)
    is_winner = (votes == highest[:, None]) & (highest[:, None] > 0)
    return np.asarray((is_winner & is_right).sum(axis=1) / np.maximum(1, is_winner.sum(axis=1)))
