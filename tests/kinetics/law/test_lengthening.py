"""Cost per answer apart into cost per token and tokens, and tokens to a first right answer against all orders."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.law.cost_models import MeasuredCost, StepCost
from kinetics.law.lengthening import compare_lengths, tokens_to_first_right
from kinetics.samples.sample_set import Question, SampleSet
from kinetics.specs.policies import Dense, TopK

COST = {"s": MeasuredCost(dense=StepCost(token=4.0, key=0.0), sparse=StepCost(token=1.0, key=0.0))}


def question(name, lengths, is_correct):
    return Question(
        question_id=name, prompt_len=5, lengths=tuple(lengths), is_correct=tuple(is_correct),
        answers=("",) * len(lengths),
    )  # fmt: skip


def sets_of(rng, *, stretch, num_questions=30):
    lengths = rng.lognormal(8, 0.7, (num_questions, 6))
    dense = tuple(question(f"q{i:02d}", own.round().astype(int).tolist(), own > 2000) for i, own in enumerate(lengths))
    longer = lengths[:, rng.permutation(6)] * stretch
    sparse = tuple(question(f"q{i:02d}", own.round().astype(int).tolist(), own > 2000) for i, own in enumerate(longer))
    whole = SampleSet(model="m", dataset="d", policy=Dense(), questions=dense, has_estimated_lengths=False)
    return [whole, replace(whole, policy=TopK(kv_budget=8), questions=sparse)]


def test_a_cost_is_cost_per_token_times_tokens():
    (found,) = compare_lengths(sets_of(np.random.default_rng(0), stretch=1.3), lambda _: COST, "s")
    assert found.tokens.value == pytest.approx(1.3, rel=1e-3)
    assert found.cost_per_token.value == pytest.approx(0.25)
    assert found.cost.value == pytest.approx(found.cost_per_token.value * found.tokens.value)
    assert found.cost.low <= found.cost.value <= found.cost.high < 1


def test_lengthening_can_eat_up_what_a_token_costs_less():
    (found,) = compare_lengths(sets_of(np.random.default_rng(1), stretch=4.5), lambda _: COST, "s")
    assert found.cost_per_token.value < 1 < found.cost.low


def test_without_a_dense_set_or_a_cost_nothing_is_compared():
    dense, sparse = sets_of(np.random.default_rng(2), stretch=1.1)
    assert compare_lengths([sparse], lambda _: COST, "s") == []
    assert compare_lengths([dense, sparse], lambda _: {}, "s") == []
    assert compare_lengths([dense, replace(sparse, model="other")], lambda _: COST, "s") == []


@given(st.lists(st.tuples(st.integers(1, 50), st.booleans()), min_size=1, max_size=5))
def test_tokens_to_a_first_right_answer_are_those_of_all_orders(answers):
    lengths, is_correct = zip(*answers, strict=True)
    asked = question("q", lengths, is_correct)
    if not any(is_correct):
        with pytest.raises(ValueError, match="must have a right answer, got none"):
            tokens_to_first_right(asked)
        return
    spent = []
    for order in permutations(answers):
        first = next(i for i, (_, is_right) in enumerate(order) if is_right)
        spent.append(sum(length for length, _ in order[: first + 1]))
    assert tokens_to_first_right(asked) == pytest.approx(np.mean(spent))


def test_tokens_to_right_need_questions_that_both_solve():
    dense, sparse = sets_of(np.random.default_rng(3), stretch=1.2)
    never = tuple(replace(q, is_correct=(False,) * q.num_trials) for q in sparse.questions)
    (found,) = compare_lengths([dense, replace(sparse, questions=never)], lambda _: COST, "s")
    assert (found.tokens_to_right, found.num_solved) == (None, 0)
    assert found.gain_points.high < 0


def test_the_figure_shows_tokens_to_a_right_answer_beside_what_a_token_costs():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: report)")
    from kinetics.law.plots import plot_lengthening

    (found,) = compare_lengths(sets_of(np.random.default_rng(0), stretch=1.3), lambda _: COST, "s")
    figure = plot_lengthening([found, replace(found, tokens_to_right=None)])
    panels = {axes.get_title(): axes for axes in figure.axes}
    assert list(panels) == ["cost per token", "tokens per answer", "cost per answer", "tokens to a right answer"]
    intervals = {
        name: [line for line in axes.lines if len(set(line.get_ydata())) == 1] for name, axes in panels.items()
    }
    assert len(intervals["tokens to a right answer"]) < len(intervals["tokens per answer"])
