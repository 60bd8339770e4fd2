"""Voting against plain loops over draws, and what ties, missing answers and weights do."""

from collections import Counter
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetics.law.votes import majorities, majority, stop_early, weights_by_length
from kinetics.samples.sample_set import Question


def make_question(answers, *, right="7", lengths=None):
    return Question(
        question_id="q", prompt_len=10, lengths=tuple(lengths or [1] * len(answers)),
        is_correct=tuple(answer == right for answer in answers), answers=tuple(answers),
    )  # fmt: skip


def loop_majority(answers, weights, trials, right="7"):
    """Over all orders: the mean credit of the first `trials` answers."""
    credits_of_orders = []
    for order in permutations(range(len(answers))):
        votes = Counter()
        for i in order[:trials]:
            if answers[i]:
                votes[answers[i]] += weights[i]
        winners = [answer for answer, count in votes.items() if count == max(votes.values())]
        credits_of_orders.append(winners.count(right) / len(winners) if winners else 0.0)
    return sum(credits_of_orders) / len(credits_of_orders)


def loop_early_stop(answers, agree, right="7"):
    """Over all orders: (mean credit, mean number of answers drawn)."""
    scores, drawn = [], []
    for order in permutations(answers):
        votes, num_drawn = Counter(), 0
        for answer in order:
            num_drawn += 1
            votes.update([answer] if answer else [])
            if votes and max(votes.values()) >= agree:
                break
        winners = [answer for answer, count in votes.items() if count == max(votes.values())]
        scores.append(winners.count(right) / len(winners) if winners else 0.0)
        drawn.append(num_drawn)
    return sum(scores) / len(scores), sum(drawn) / len(drawn)


def test_the_majority_of_all_trials_is_exact_and_ties_share():
    assert majority(make_question(["7", "7", "3", "3"]), trials=4) == 0.5
    assert majority(make_question(["7", "7", "3"]), trials=3) == 1.0


def test_a_tie_of_the_most_votes_is_worth_its_share():
    assert majority(make_question([*"aabbc"], right="a"), trials=5) == pytest.approx(1 / 2)


def test_trials_are_drawn_without_replacement():
    """Two of five answers are right: both are among three draws in 3 of 10 cases, with replacement in 35 of 100."""
    question = make_question([*"aabbb"], right="a")
    draws = [majority(question, trials=3, num_draws=4000, seed=seed) for seed in range(3)]
    assert sum(draws) / len(draws) == pytest.approx(0.3, abs=0.02)


def test_answers_that_are_missing_cast_no_vote():
    assert majority(make_question(["7", "", ""]), trials=3) == 1.0
    assert majority(make_question(["", ""]), trials=2) == 0.0


@settings(max_examples=15)
@given(st.lists(st.sampled_from(["7", "3", "5", ""]), min_size=3, max_size=5), st.data())
def test_votes_are_those_of_plain_loops(answers, data):
    weights = [float(2**i) for i in range(len(answers))]
    question = make_question(answers)
    trials = data.draw(st.integers(1, len(answers)))
    agree = data.draw(st.integers(1, 3))
    (plain,) = majorities(question, trials=[trials], num_draws=4000)
    (weighted,) = majorities(question, trials=[trials], weights=weights, num_draws=4000)
    (stopped,) = stop_early(question, agree=[agree], most=len(answers), num_draws=4000)
    assert plain == pytest.approx(loop_majority(answers, [1.0] * len(answers), trials), abs=0.04)
    assert weighted == pytest.approx(loop_majority(answers, weights, trials), abs=0.04)
    accuracy, drawn = loop_early_stop(answers, agree)
    assert stopped.accuracy == pytest.approx(accuracy, abs=0.04)
    assert stopped.num_answers == pytest.approx(drawn, abs=0.08)


def test_one_vote_is_pass_at_1_and_the_seed_decides_the_draws():
    question = make_question(["7"] * 4 + ["3"] * 6)
    assert majority(question, trials=1, num_draws=20_000) == pytest.approx(0.4, abs=0.02)
    first, again, other = (majority(question, trials=3, num_draws=50, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_short_answers_weigh_more_where_samples_carry_no_weights():
    question = make_question(["7", "3", "3"], lengths=[10, 40, 40])
    assert majorities(question, trials=[3]) == [0.0]
    assert majorities(question, trials=[3], weights=weights_by_length(question)) == [1.0]


def test_more_votes_than_answers_are_refused():
    with pytest.raises(ValueError, match=r"trials must lie in 1\.\.2 for q, got 3"):
        majorities(make_question(["7", "3"]), trials=[1, 3])
    with pytest.raises(ValueError, match=r"trials must lie in 1\.\.2 for q, got 3"):
        stop_early(make_question(["7", "3"]), agree=[2], most=3)
