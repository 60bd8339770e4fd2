"""pass@k, majority and intervals against references and brute force."""

import csv
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.law.accuracy_estimates import coverage, num_correct_within, outcomes
from kinetics.samples.sample_set import Question, SampleSet
from kinetics.specs.policies import Dense
from tests.support.paths import DATA

COVERAGE = list(csv.DictReader((DATA / "reference_coverage.csv").open()))
DEFINED = [row for row in COVERAGE if int(row["k"]) <= int(row["n"])]
UNDEFINED = [row for row in COVERAGE if int(row["k"]) > int(row["n"])]


def make_question(lengths, is_correct, answers=None, **facts):
    answers = answers or ["7" if correct else "3" for correct in is_correct]
    return Question(
        question_id="q", prompt_len=10, lengths=tuple(lengths), is_correct=tuple(is_correct), answers=tuple(answers),
        **facts,
    )  # fmt: skip


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


def test_an_answer_counts_within_a_budget_only_if_it_ended_by_then():
    question = make_question([10, 20, 30], [True, False, True])
    assert num_correct_within(question, 29) == 1
    assert num_correct_within(question, 30) == num_correct_within(question, None) == 2


def test_grades_of_cut_texts_come_first_where_there_are_any():
    question = make_question([10, 20], [True, True], graded_cuts={5: (False, True)})
    assert num_correct_within(question, 5) == 1
    assert num_correct_within(question, 10) == 1
    assert num_correct_within(question.subset([1]), 5) == 1


def test_answers_are_right_cut_off_or_wrong_and_right_comes_first():
    question = make_question([9, 9, 9, 4], [True, False, False, False], is_cut_off=(True, True, False, False))
    samples = SampleSet(
        model="m", dataset="d", policy=Dense(), questions=(question, make_question([1], [True])),
        has_estimated_lengths=False,
    )  # fmt: skip
    found = outcomes(samples)
    assert (found.right, found.cut_off, found.wrong) == ((0.25 + 1) / 2, 0.125, 0.25)
    assert question.subset([0, 3]).cut_off == (True, False)
