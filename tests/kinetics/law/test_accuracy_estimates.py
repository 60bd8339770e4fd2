"""What majorities and intervals are, by cases that tell a rule from its neighbours."""

import numpy as np
import pytest

from kinetics.law.accuracy_estimates import bootstrap_interval, majority
from kinetics.samples.sample_set import Question


def question(answers: str, correct: str) -> Question:
    return Question(
        question_id="q",
        prompt_len=10,
        lengths=(5,) * len(answers),
        is_correct=tuple(answer == correct for answer in answers),
        answers=tuple(answers),
    )


def test_a_tie_of_the_most_votes_is_worth_its_share() -> None:
    assert majority(question("aabbc", "a"), trials=5) == pytest.approx(1 / 2)


def test_trials_are_drawn_without_replacement() -> None:
    """Two of five answers are right: both are among three draws in 3 of 10 cases, with replacement in 35 of 100."""
    draws = [majority(question("aabbb", "a"), trials=3, num_draws=4000, seed=seed) for seed in range(3)]
    assert sum(draws) / len(draws) == pytest.approx(0.3, abs=0.02)


def test_an_interval_of_95_percent_leaves_a_fortieth_on_each_side() -> None:
    solved = np.repeat([0.0, 1.0], 200)[:, None]
    low, high = bootstrap_interval(solved, num_resamples=20_000)
    half_width = 1.96 * 0.5 / np.sqrt(400)
    assert low[0] == pytest.approx(0.5 - half_width, abs=0.004)
    assert high[0] == pytest.approx(0.5 + half_width, abs=0.004)
