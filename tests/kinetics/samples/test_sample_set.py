"""pass@k, majority and intervals against references and brute force."""

import csv
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.law.accuracy_estimates import bootstrap_interval, correct_within, coverage, majority
from kinetics.samples.sample_set import Question
from tests.support.paths import DATA

COVERAGE = list(csv.DictReader((DATA / "reference_coverage.csv").open()))
DEFINED = [row for row in COVERAGE if int(row["k"]) <= int(row["n"])]
UNDEFINED = [row for row in COVERAGE if int(row["k"]) > int(row["n"])]


def make_question(lengths, is_correct, answers=None, **facts):
    answers = answers or ["7" if correct else "3" for correct in is_correct]
    return Question(
        question_id="q",
        prompt_len=10,
        lengths=tuple(lengths),
        is_correct=tuple(is_correct),
        answers=tuple(answers),
        **facts,
    )


def test_the_reference_has_both_kinds_of_rows():
    assert len(DEFINED) > 100
    assert len(UNDEFINED) > 10


@pytest.mark.parametrize("row", DEFINED, ids=lambda row: f"n{row['n']}-c{row['c']}-k{row['k']}")
def test_coverage_equals_the_reference(row):
    found = coverage(int(row["n"]), int(row["c"]), trials=int(row["k"]))
    assert found == pytest.approx(float(row["ref_coverage"]), rel=1e-12, abs=1e-12)
    assert found == pytest.approx(float(Fraction(row["exact_unbiased_fraction"])), rel=1e-15)


@pytest.mark.parametrize("row", UNDEFINED, ids=lambda row: f"n{row['n']}-c{row['c']}-k{row['k']}")
def test_more_trials_than_samples_is_an_error_and_never_nan(row):
    with pytest.raises(ValueError, match=r"trials must lie in 1..samples, got \d+ trials of \d+ samples"):
        coverage(int(row["n"]), int(row["c"]), trials=int(row["k"]))


@given(st.integers(1, 9), st.data())
def test_coverage_equals_the_count_of_all_draws(num_samples, data):
    num_correct = data.draw(st.integers(0, num_samples))
    trials = data.draw(st.integers(1, num_samples))
    draws = list(combinations(range(num_samples), trials))
    hits = sum(any(i < num_correct for i in draw) for draw in draws)
    assert coverage(num_samples, num_correct, trials=trials) == pytest.approx(hits / len(draws), rel=1e-15)


@pytest.mark.parametrize(("samples", "correct"), [(3, 4), (3, -1)])
def test_more_correct_than_samples_is_an_error(samples, correct):
    with pytest.raises(ValueError, match=r"correct must lie in 0\.\.samples"):
        coverage(samples, correct, trials=1)


def test_the_majority_of_all_trials_is_exact_and_ties_share():
    question = make_question([1] * 4, [True, True, False, False])
    assert majority(question, trials=4) == 0.5
    assert majority(make_question([1] * 3, [True, True, False]), trials=3) == 1.0


def test_answers_that_are_missing_cast_no_vote():
    question = make_question([1] * 3, [True, False, False], answers=["7", "", ""])
    assert majority(question, trials=3) == 1.0
    silent = make_question([1] * 2, [False, False], answers=["", ""])
    assert majority(silent, trials=2) == 0.0


def test_one_vote_is_pass_at_1_and_the_seed_decides_the_draws():
    question = make_question([1] * 10, [True] * 4 + [False] * 6)
    assert majority(question, trials=1, num_draws=20_000) == pytest.approx(0.4, abs=0.02)
    first, again, other = (majority(question, trials=3, num_draws=50, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_an_answer_counts_within_a_budget_only_if_it_ended_by_then():
    question = make_question([10, 20, 30], [True, False, True])
    assert correct_within(question, 29) == (True, False, False)
    assert correct_within(question, 30) == (True, False, True)


def test_grades_of_cut_texts_come_first_where_there_are_any():
    question = make_question([10, 20], [True, True], graded_cuts={5: (False, True)})
    assert correct_within(question, 5) == (False, True)
    assert correct_within(question, 10) == (True, False)
    assert correct_within(question.subset([1]), 5) == (True,)


def test_the_interval_resamples_questions_not_answers():
    # Two kinds of questions, each unanimous: all uncertainty is between questions.
    per_question = np.array([0.0, 1.0] * 15)
    low, high = bootstrap_interval(per_question)
    assert low == pytest.approx(0.5 - 1.96 * 0.5 / 30**0.5, abs=0.04)
    assert high == pytest.approx(0.5 + 1.96 * 0.5 / 30**0.5, abs=0.04)
    assert bootstrap_interval(np.full((30, 2), 0.25))[0] == pytest.approx([0.25, 0.25])


def test_a_question_needs_matching_facts():
    with pytest.raises(ValueError, match="one length, grade and answer per trial"):
        make_question([1, 2], [True])
