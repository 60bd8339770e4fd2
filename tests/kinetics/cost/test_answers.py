"""Exact costs equal the reference integers, the loop over steps, and common sense."""

import csv
from itertools import combinations
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.cost.answer_groups import expected_longest, group_work
from kinetics.cost.answers import (
    Combine,
    CostOptions,
    answer_work,
    question_work,
    sum_steps,
    tera_eflop,
)
from kinetics.cost.kernels import Work
from kinetics.specs.models import MODEL_SPECS, find_model
from kinetics.specs.policies import BlockTopK, Dense, Local, TopK
from tests.support.paths import DATA

REFERENCE_COSTS = list(csv.DictReader((DATA / "reference_costs.csv").open()))

models = st.sampled_from(MODEL_SPECS)
lengths = st.integers(0, 3000)
counts = st.integers(1, 40)
budgets = st.integers(1, 2000)


def reference_policy(row):
    if row["method"] == "dense":
        return Dense()
    if row["method"] == "topk":
        return TopK(kv_budget=int(row["budget"]))
    return BlockTopK(
        block_size=int(row["block_size"]), top_blocks=int(row["block_topk"]), num_local=int(row["local"] or 0)
    )


@pytest.mark.parametrize("row", REFERENCE_COSTS, ids=lambda row: f"row{row['id']}")
def test_exact_counts_equal_the_reference_integers(row):
    policy, prompt_len, generated = reference_policy(row), int(row["context"]), int(row["generation"])
    work = answer_work(
        find_model(row["model"]),
        policy,
        prompt_len=prompt_len,
        generated=generated,
        trials=int(row["trials"]),
        num_parameters=round(float(row["nparams"])),
    )
    sums = sum_steps(policy, prompt_len=prompt_len, generated=generated)
    assert sums.attended_keys == int(row["exact_attended_keys_per_trial"])
    assert sums.scored_vectors == int(row["exact_blocks_scored_per_trial"])
    assert work.num_bytes == int(row["exact_memory_bytes"])
    assert work.flop / 1e12 == pytest.approx(float(row["exact_compute_tflop"]), rel=1e-14)
    assert tera_eflop(Work(flop=0, num_bytes=work.num_bytes), intensity=float(row["E_flops"])) == pytest.approx(
        float(row["exact_memory_cost"]), rel=1e-14
    )


def loop_work(model, policy, *, prompt_len, generated, trials):
    """Every step, layer-free: keys and blocks counted one step at a time."""
    q_width = model.num_layers * model.num_q_heads * model.head_dim
    kv_width = model.num_layers * model.num_kv_heads * model.head_dim
    flop = num_bytes = 0
    for n in range(prompt_len + 1, prompt_len + generated + 1):
        keys = policy.num_keys(n)
        flop += trials * (2 * model.matmul_parameters_per_token + 4 * keys * q_width)
        own_keys = n - prompt_len if isinstance(policy, Dense) else keys
        num_bytes += 4 * kv_width * (trials * own_keys + (prompt_len if isinstance(policy, Dense) else 0))
        if isinstance(policy, BlockTopK):
            prompt_blocks = prompt_len // policy.block_size
            flop += trials * 2 * (n // policy.block_size) * q_width
            own_blocks = n // policy.block_size - prompt_blocks
            num_bytes += 2 * kv_width * (trials * own_blocks + prompt_blocks)
    return Work(flop=flop, num_bytes=num_bytes)


any_policy = st.one_of(
    st.just(Dense()),
    st.builds(TopK, kv_budget=st.integers(1, 300), num_sink_tokens=st.integers(0, 8)),
    st.builds(Local, num_local=st.integers(1, 300)),
    st.builds(
        BlockTopK, block_size=st.integers(1, 64), top_blocks=st.integers(1, 8), keeps_partial_block=st.booleans()
    ),
)


@given(models, any_policy, st.integers(0, 150), st.integers(0, 150), counts)
def test_closed_forms_equal_the_loop_over_steps(model, policy, prompt_len, generated, trials):
    work = answer_work(model, policy, prompt_len=prompt_len, generated=generated, trials=trials)
    assert work == loop_work(model, policy, prompt_len=prompt_len, generated=generated, trials=trials)


@given(models, any_policy, lengths, lengths, counts)
def test_cost_grows_with_generation_and_trials(model, policy, prompt_len, generated, trials):
    base = answer_work(model, policy, prompt_len=prompt_len, generated=generated, trials=trials)
    longer = answer_work(model, policy, prompt_len=prompt_len, generated=generated + 1, trials=trials)
    wider = answer_work(model, policy, prompt_len=prompt_len, generated=generated, trials=trials + 1)
    assert base.flop <= min(longer.flop, wider.flop)
    assert base.num_bytes <= min(longer.num_bytes, wider.num_bytes)


steady_policy = any_policy.filter(lambda policy: not (isinstance(policy, BlockTopK) and policy.keeps_partial_block))


@given(models, steady_policy, lengths, lengths, counts)
def test_cost_grows_with_the_prompt(model, policy, prompt_len, generated, trials):
    # Partial blocks are left out: a key that completes its block stops being attended for free. With several trials
    # the same key can move a block from each trial's share to the prompt, which is read once: fewer bytes, honestly.
    base = answer_work(model, policy, prompt_len=prompt_len, generated=generated, trials=trials)
    longer = answer_work(model, policy, prompt_len=prompt_len + 1, generated=generated, trials=trials)
    assert longer.flop >= base.flop
    if trials == 1 or not isinstance(policy, BlockTopK):
        assert longer.num_bytes >= base.num_bytes


@given(models, budgets, lengths, lengths, counts)
def test_topk_cost_grows_with_the_budget_and_stays_below_dense(model, kv_budget, prompt_len, generated, trials):
    shape = {"prompt_len": prompt_len, "generated": generated, "trials": trials}
    small = answer_work(model, TopK(kv_budget=kv_budget), **shape)
    large = answer_work(model, TopK(kv_budget=kv_budget + 1), **shape)
    dense = answer_work(model, Dense(), **shape)
    assert small.flop <= large.flop <= dense.flop
    assert small.num_bytes <= large.num_bytes


@given(models, budgets, lengths, lengths)
def test_one_topk_trial_never_reads_more_than_dense(model, kv_budget, prompt_len, generated):
    # Only one trial: many dense trials share the prompt's keys, sparse ones do not.
    shape = {"prompt_len": prompt_len, "generated": generated}
    topk, dense = answer_work(model, TopK(kv_budget=kv_budget), **shape), answer_work(model, Dense(), **shape)
    assert topk.num_bytes <= dense.num_bytes


@given(models, lengths, lengths)
def test_a_budget_beyond_the_context_equals_dense(model, prompt_len, generated):
    whole = prompt_len + generated + 1
    shape = {"prompt_len": prompt_len, "generated": generated}
    dense = answer_work(model, Dense(), **shape)
    assert answer_work(model, TopK(kv_budget=whole), **shape) == dense
    assert answer_work(model, Local(num_local=whole), **shape) == dense
    assert answer_work(model, BlockTopK(block_size=whole + 1, top_blocks=1), **shape) == dense


@given(models, any_policy, lengths, lengths, counts)
def test_units_scale_element_bytes_into_bytes_alone(model, policy, prompt_len, generated, trials):
    shape = {"prompt_len": prompt_len, "generated": generated, "trials": trials}
    one, two = (answer_work(model, policy, options=CostOptions(element_bytes=size), **shape) for size in (1, 2))
    assert two == Work(flop=one.flop, num_bytes=2 * one.num_bytes)


@given(models, any_policy, lengths, st.lists(st.integers(0, 500), min_size=1, max_size=5), counts)
def test_a_question_is_the_sum_of_its_answers(model, policy, prompt_len, answer_lengths, trials):
    options = CostOptions(num_dense_layers=1, includes_prefill=True)
    together = question_work(model, policy, prompt_len=prompt_len, lengths=answer_lengths, options=options)
    singly = [
        answer_work(model, policy, prompt_len=prompt_len, generated=n, trials=trials, options=options)
        for n in answer_lengths
    ]
    assert together.total(trials) == sum(singly[1:], singly[0])


groups_of_three = st.lists(st.lists(st.integers(0, 500), min_size=3, max_size=3), min_size=1, max_size=4)


@given(models, any_policy, lengths, groups_of_three, st.sampled_from([0, 3]), st.integers(0, 1))
def test_groups_of_answers_cost_what_their_answers_do(model, policy, prompt_len, groups, batch, num_dense):
    options = CostOptions(num_dense_layers=num_dense, includes_prefill=True, batch=batch)
    together = group_work(model, policy, prompt_len=prompt_len, lengths=groups, options=options)
    for i, group in enumerate(groups):
        whole = question_work(model, policy, prompt_len=prompt_len, lengths=group, options=options)
        assert together.flop[i] * 3 == pytest.approx(whole.per_trial.flop, rel=1e-12)
        assert together.shared_flop[i] * 3 == pytest.approx(whole.shared.flop, rel=1e-12)
        # Of a weight read by a finite batch, integers lose what is less than a byte.
        assert together.num_bytes[i] * 3 == pytest.approx(whole.per_trial.num_bytes, rel=1e-12, abs=1)
        assert together.shared_bytes[i] * 3 == pytest.approx(whole.shared.num_bytes, rel=1e-12)


@pytest.mark.parametrize("change", [{"lengths": [[-1, 2]]}, {"options": CostOptions(num_dense_layers=99)}])
def test_groups_that_make_no_sense_are_refused(change):
    asked = {"prompt_len": 10, "lengths": [[1, 2]], "options": CostOptions()} | change
    with pytest.raises(ValueError, match="must"):
        group_work(find_model("Qwen3-8B"), Dense(), **asked)


def test_all_layers_dense_is_dense():
    model, shape = find_model("Qwen3-8B"), {"prompt_len": 200, "generated": 5000}
    options = CostOptions(num_dense_layers=model.num_layers)
    assert answer_work(model, TopK(kv_budget=64), options=options, **shape) == answer_work(model, Dense(), **shape)


@pytest.mark.parametrize(
    ("name", "generated", "kv_budget", "ratio"),
    [("Qwen3-0.6B", 16384, 128, 2.95), ("Qwen3-0.6B", 16384, 1024, 1.25), ("Qwen3-8B", 16384, 128, 1.71),
     ("Qwen3-32B", 30767, 128, 1.43)],
)  # fmt: skip
def test_one_dense_layer_costs_what_the_audit_found(name, generated, kv_budget, ratio):
    model, policy, shape = find_model(name), TopK(kv_budget=kv_budget), {"prompt_len": 200, "generated": generated}
    plain = tera_eflop(answer_work(model, policy, **shape), intensity=562.5)
    charged = tera_eflop(answer_work(model, policy, options=CostOptions(num_dense_layers=1), **shape), intensity=562.5)
    assert charged / plain == pytest.approx(ratio, rel=0.1)


def test_weights_cost_bytes_only_at_a_finite_batch():
    model, shape = find_model("Qwen3-8B"), {"prompt_len": 0, "generated": 10, "trials": 2}
    free = answer_work(model, Dense(), **shape)
    paid = answer_work(model, Dense(), options=CostOptions(batch=4), **shape)
    assert paid.num_bytes - free.num_bytes == 10 * 2 * model.matmul_parameters_per_token * 2 // 4
    assert paid.flop == free.flop


def test_prefill_is_paid_once_for_all_trials():
    model = find_model("Qwen3-8B")
    prefill = [
        answer_work(model, Dense(), prompt_len=100, generated=0, trials=n, options=CostOptions(includes_prefill=True))
        for n in (1, 8)
    ]
    attention = model.num_layers * 4 * 5050 * model.num_q_heads * model.head_dim
    assert prefill[0] == prefill[1]
    assert prefill[0].flop == 2 * 100 * model.matmul_parameters_per_token + attention
    assert prefill[0].num_bytes == 100 * model.kv_bytes_per_token(2)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=7), st.data())
def test_expected_longest_equals_the_mean_over_all_draws(observed, data):
    trials = data.draw(st.integers(1, len(observed)))
    by_hand = mean(max(draw) for draw in combinations(observed, trials))
    assert expected_longest(observed, trials=trials) == pytest.approx(by_hand, rel=1e-12, abs=1e-12)


def test_max_hides_the_smaller_of_compute_and_memory():
    work = Work(flop=3 * 10**12, num_bytes=2 * 10**12)
    assert tera_eflop(work, intensity=2.0) == 7.0
    assert tera_eflop(work, intensity=2.0, combine=Combine.MAX) == 4.0
    assert tera_eflop(work, intensity=0.0) == 3.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt_len": -1}, "prompt_len must be at least 0, got -1"),
        ({"generated": -2}, "generated must be at least 0"),
        ({"trials": 0}, "trials must be at least 1, got 0"),
        ({"options": CostOptions(num_dense_layers=37)}, "must not exceed the 36 layers of Qwen3-8B, got 37"),
    ],
)
def test_an_impossible_answer_is_an_error(change, message):
    with pytest.raises(ValueError, match=message):
        answer_work(find_model("Qwen3-8B"), Dense(), **{"prompt_len": 1, "generated": 1} | change)
