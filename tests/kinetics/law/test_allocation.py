"""Algorithms 1 and 2 against plain loops, the winner's curse, and sets that must not be compared."""

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetics.cost.answers import CostOptions
from kinetics.cost.published import mean_paper_cost
from kinetics.law.allocation import allocate, chosen_spending, cross_validate
from kinetics.law.choices import choose
from kinetics.law.cost_models import EFlopCost, PublishedCost
from kinetics.law.strategies import tabulate
from kinetics.samples.sample_set import Question, SampleSet
from kinetics.specs.models import find_model
from kinetics.specs.policies import BlockTopK, Dense, TopK

MODEL = find_model("Qwen3-8B")
GRID = np.logspace(1, 5, 40)
TRIALS = (1, 2, 4)
BUDGETS = (500, 2000, 8000)


def make_set(policy, *, num_questions=6, num_trials=5, seed=0, p=0.4, model="Qwen3-8B", dataset="aime24"):
    rng = random.Random(f"{seed}{policy}")
    questions = tuple(
        Question(
            question_id=f"q{i}",
            prompt_len=rng.randint(50, 300),
            lengths=tuple(rng.randint(100, 12000) for _ in range(num_trials)),
            is_correct=tuple(rng.random() < p for _ in range(num_trials)),
            answers=("",) * num_trials,
        )
        for i in range(num_questions)
    )
    return SampleSet(model=model, dataset=dataset, policy=policy, questions=questions, has_estimated_lengths=False)


def loop_cost(policy, question, lengths, trials):
    """Mean eFLOPs over observed lengths, every step, key and byte counted one after the other."""
    q_width, kv_width = 36 * 32 * 128, 36 * 8 * 128
    total = 0.0
    for length in lengths:
        c = question.prompt_len
        flop = num_bytes = 0
        for n in range(c + 1, c + length + 1):
            keys = n if isinstance(policy, Dense) else min(n, policy.kv_budget)
            flop += trials * (2 * MODEL.matmul_parameters_per_token + 4 * q_width * keys)
            shared = c if isinstance(policy, Dense) else 0
            num_bytes += 4 * kv_width * (trials * (keys - shared) + shared)
        total += (flop + 562.5 * num_bytes) / 1e12
    return total / len(lengths)


def loop_pass_at_k(n, c, k):
    return 1.0 - math.prod((n - c - i) / (n - i) for i in range(k))


def loop_best_of_n(sets, cap):
    """Algorithm 1: for every question, every KV budget and every N that the cap affords, the best pass@N; the mean."""
    best_per_question = []
    for i in range(len(sets[0].questions)):
        best = 0.0
        for samples in sets:
            question = samples.questions[i]
            for n in TRIALS:
                if loop_cost(samples.policy, question, question.lengths, n) <= cap:
                    score = loop_pass_at_k(len(question.lengths), sum(question.is_correct), n)
                    best = max(best, score)
        best_per_question.append(best)
    return sum(best_per_question) / len(best_per_question)


def loop_long_cot(sets, cap):
    """Algorithm 2: for every question, every KV budget and every length that the cap affords, the best pass@1."""
    best_per_question = []
    for i in range(len(sets[0].questions)):
        best = 0.0
        for samples in sets:
            question = samples.questions[i]
            for budget in BUDGETS:
                lengths = [min(length, budget) for length in question.lengths]
                if loop_cost(samples.policy, question, lengths, 1) <= cap:
                    pairs = zip(question.is_correct, question.lengths, strict=True)
                    best = max(best, sum(ok and length <= budget for ok, length in pairs) / len(lengths))
        best_per_question.append(best)
    return sum(best_per_question) / len(best_per_question)


SETS = [make_set(policy, num_questions=2, num_trials=4) for policy in (Dense(), TopK(kv_budget=256))]
COST = {"eflop": EFlopCost(model=MODEL)}


def best_of_n(sets, *, trials=TRIALS):
    return tabulate(sets, trials=trials, caps_of=lambda _: (None,), cost_models_of=lambda _: COST)


def long_cot(sets, *, budgets=BUDGETS):
    return tabulate(sets, trials=(1,), caps_of=lambda _: budgets, cost_models_of=lambda _: COST)


@pytest.mark.parametrize("cap", [30.0, 120.0, 300.0, 900.0, 4000.0, 20000.0])
def test_best_of_n_equals_the_plain_loops(cap):
    table = best_of_n(SETS)
    found = allocate(table, "eflop", np.array([cap])).accuracy.mean()
    assert found == pytest.approx(loop_best_of_n(SETS, cap), abs=1e-12)


@pytest.mark.parametrize("cap", [30.0, 120.0, 300.0, 900.0, 4000.0])
def test_long_cot_equals_the_plain_loops(cap):
    table = long_cot(SETS)
    found = allocate(table, "eflop", np.array([cap])).accuracy.mean()
    assert found == pytest.approx(loop_long_cot(SETS, cap), abs=1e-12)


def test_the_plain_loops_see_caps_that_bind():
    found = {loop_best_of_n(SETS, cap) for cap in (30.0, 300.0, 20000.0)}
    assert len(found) == 3


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_more_money_and_more_options_never_hurt(seed):
    sets = [make_set(policy, seed=seed) for policy in (TopK(kv_budget=64), TopK(kv_budget=1024))]
    one = allocate(best_of_n(sets[:1]), "eflop", GRID).accuracy
    two = allocate(best_of_n(sets), "eflop", GRID).accuracy
    assert (np.diff(two, axis=1) >= 0).all()
    assert (two >= one).all()


def test_of_equally_accurate_options_the_cheapest_is_chosen():
    questions = tuple(
        Question(question_id="q", prompt_len=10, lengths=(100, 100), is_correct=(True, True), answers=("", ""))
        for _ in range(1)
    )
    samples = SampleSet(model="Qwen3-8B", dataset="d", policy=Dense(), questions=questions, has_estimated_lengths=False)
    table = best_of_n([samples], trials=(1, 2))
    chosen = allocate(table, "eflop", np.array([1e-3, 1e6]))
    assert chosen.is_affordable.tolist() == [[False, True]]
    assert chosen.strategy[0, 1] == 0
    assert chosen.accuracy.tolist() == [[0.0, 1.0]]


def test_an_option_that_costs_exactly_the_cap_is_affordable():
    table = best_of_n(SETS, trials=(1,))
    caps = np.array([table.cost["eflop"][0].min(), np.nextafter(table.cost["eflop"][0].min(), 0)])
    assert allocate(table, "eflop", caps).is_affordable[0].tolist() == [True, False]


def test_one_choice_for_all_questions_is_no_better_than_the_oracle():
    sets = [make_set(policy) for policy in (TopK(kv_budget=64), TopK(kv_budget=1024))]
    table = best_of_n(sets)
    oracle = allocate(table, "eflop", GRID).accuracy.mean(axis=0)
    assert choose(table, "eflop", GRID).chosen_accuracy[-1] <= oracle[-1]


def test_choosing_and_scoring_on_the_same_samples_is_optimistic():
    # Eight policies of equal worth: the oracle gains by luck alone, held-out samples show none of it.
    sets = [make_set(TopK(kv_budget=2**i), num_questions=30, num_trials=16, p=0.3) for i in range(8)]

    def build(chosen):
        return long_cot(chosen, budgets=(20000,))

    oracle, held_out = cross_validate(sets, build, "eflop", np.array([1e6]))
    assert held_out.mean() == pytest.approx(0.3, abs=0.04)
    assert oracle.mean() > held_out.mean() + 0.15


def test_spending_is_that_of_the_chosen_options():
    sets = [make_set(TopK(kv_budget=budget)) for budget in (64, 1024)]
    table = best_of_n(sets)
    chosen = allocate(table, "eflop", np.array([1e-3, 1e6]))
    tokens, budgets = chosen_spending(table, chosen)
    assert np.isnan([tokens[0], budgets[0]]).all()
    picked = [table.strategies[i] for i in chosen.strategy[:, 1]]
    assert budgets[1] == np.mean([option.policy.kv_budget for option in picked])
    by_policy = {samples.policy: samples.questions for samples in sets}
    spent = [o.trials * np.mean(by_policy[o.policy][i].lengths) for i, o in enumerate(picked)]
    assert tokens[1] == pytest.approx(max(spent))


def test_published_costs_are_the_published_formulas():
    question = make_set(Dense()).questions[0]
    policy = BlockTopK(block_size=16, top_blocks=4)
    costs = PublishedCost(model=MODEL).mean_costs(policy, prompt_len=100, lengths=question.lengths, trials=(1, 4))
    expected = [
        mean_paper_cost(MODEL, policy, prompt_len=100, lengths=question.lengths, trials=n).total for n in (1, 4)
    ]
    assert costs == pytest.approx(expected, rel=1e-12)


def test_reading_the_prompt_to_the_longest_trial_costs_more_only_if_lengths_differ():
    lengths, kwargs = [100, 3000], {"prompt_len": 5000, "trials": (1, 2)}
    mean = EFlopCost(model=MODEL).mean_costs(Dense(), lengths=lengths, **kwargs)
    longest = EFlopCost(model=MODEL, reads_prompt_to_longest=True).mean_costs(Dense(), lengths=lengths, **kwargs)
    assert longest[0] == pytest.approx(mean[0])
    shared = 1450 * 5000 * MODEL.kv_bytes_per_token(2) * 562.5 / 1e12
    assert longest[1] - mean[1] == pytest.approx(shared, rel=1e-9)


def test_a_dense_layer_raises_the_cost_of_sparse_attention():
    plain = EFlopCost(model=MODEL)
    charged = EFlopCost(model=MODEL, options=CostOptions(num_dense_layers=1))
    args = {"prompt_len": 200, "lengths": [16384], "trials": (1,)}
    costs = [model.mean_costs(TopK(kv_budget=128), **args)[0] for model in (charged, plain)]
    assert costs[0] / costs[1] == pytest.approx(1.74, abs=0.01)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make_set(TopK(kv_budget=8), dataset="aime25"), "must share a data set, got aime24 and aime25"),
        (make_set(TopK(kv_budget=8), num_questions=5), "same questions, got 1 that .* do not share, first q5"),
        (make_set(Dense(), seed=1), "must differ in model or policy, got Qwen3-8B dense twice"),
    ],
)
def test_sets_that_must_not_share_a_table_are_refused(other, message):
    with pytest.raises(ValueError, match=message):
        best_of_n([make_set(Dense()), other])
