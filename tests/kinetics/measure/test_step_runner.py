"""The decode-step bench proves what it times, finds planted errors, and says why a cell cannot run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kinetics.cases.steps import StepCase, StepCell
from kinetics.cost.steps import step_memory
from kinetics.engine import decoder as qwen3
from kinetics.engine.attention import page_selection
from kinetics.machine.conditions import session_conditions
from kinetics.machine.device import resolve_device
from kinetics.measure import step_runner
from kinetics.measure.rounds import RoundPlan
from kinetics.measure.step_proof import prove_step
from kinetics.measure.step_runner import StepRunner
from kinetics.measure.step_workload import StepWorkload, make_step_workload, settings_of, without_attention
from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import PolicyKind

DENSE_MODEL = ModelSpec(
    name="Small",
    num_layers=3,
    hidden_size=128,
    num_q_heads=4,
    num_kv_heads=2,
    head_dim=64,
    intermediate_size=192,
    vocab_size=500,
    ties_embeddings=True,
    has_qkv_bias=False,
    has_qk_norm=True,
)
MODELS = {
    "dense": DENSE_MODEL,
    "bias": replace(DENSE_MODEL, has_qkv_bias=True, has_qk_norm=False),
    "experts": replace(DENSE_MODEL, num_experts=8, num_experts_per_token=2, intermediate_size=64),
}


def make_cases(model, *, layer_counts=(1, 2, 3), context_len=300, dtype="float32"):
    cell = StepCell(
        model=model,
        layer_counts=layer_counts,
        batch=3,
        context_len=context_len,
        page_size=16,
        device_kind="cpu",
        dtype=dtype,
        uses_cuda_graph=False,
    )
    return [
        StepCase(cell=cell, policy=policy, num_layers=num_layers, kv_budget=budget)
        for num_layers in layer_counts
        for policy, budget in ((PolicyKind.DENSE, None), (PolicyKind.BLOCK_TOPK, 128), (PolicyKind.LOCAL, 128))
    ]


@pytest.fixture
def runner(monkeypatch):
    monkeypatch.setitem(step_runner._PLAN, "cpu", RoundPlan(budget_s=0.01, min_rounds=3, max_rounds=3))
    monkeypatch.setattr(step_runner, "last_level_cache_bytes", lambda device: 2**20)
    return StepRunner(resolve_device("cpu"), session_conditions())


@pytest.mark.parametrize("kind", list(MODELS))
def test_every_case_of_a_cell_is_proved_and_timed(runner, kind):
    cases = make_cases(MODELS[kind])
    outcomes = runner.run(cases[0].cell, cases)
    for case in cases:
        measured = outcomes[case]
        assert len(measured.samples_s) == len(measured.bare_samples_s) == 3
        assert measured.extrapolated_s is not None
        assert 0 <= measured.max_abs_error < 1e-4
        assert measured.required_bytes < measured.available_bytes


@pytest.mark.parametrize("kind", list(MODELS))
def test_bfloat16_weights_meet_a_float32_cache(runner, kind):
    cases = make_cases(MODELS[kind], layer_counts=(2,), dtype="bfloat16")
    outcomes = runner.run(cases[0].cell, cases)
    assert all(0 < measured.max_abs_error < 0.2 for measured in outcomes.values())
    workload = make_step_workload(cases[0].cell, device="cpu", seed=0)
    assert (workload.decoder.weights.head.dtype, workload.cache.keys.dtype) == (torch.bfloat16, torch.float32)
    parts = step_memory(cases[1].shape).parts
    assert parts["weights"] == workload.decoder.weights.num_bytes
    assert parts["kv"] + parts["summaries"] == workload.cache.num_bytes


def test_without_two_layer_counts_nothing_is_extrapolated(runner):
    cases = make_cases(DENSE_MODEL, layer_counts=(3,))
    assert all(one.extrapolated_s is None for one in runner.run(cases[0].cell, cases).values())


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("rotate", lambda heads, rotary: heads),
        ("rms_norm", lambda x, weight, epsilon: x * weight),
        ("silu", lambda x: x),
        ("linear", lambda x, weight, bias=None: torch.nn.functional.linear(x.bfloat16().float(), weight, bias)),
    ],
)
def test_a_planted_error_fails_the_proof(monkeypatch, runner, name, wrong):
    cases = make_cases(DENSE_MODEL, layer_counts=(1,))
    workload = make_step_workload(cases[0].cell, device="cpu", seed=0)
    prove_step(workload, cases[0])
    monkeypatch.setattr(qwen3, name, wrong)
    with pytest.raises(AssertionError, match="logits after one layer errs by"):
        prove_step(workload, cases[0])
    assert isinstance(runner.run(cases[0].cell, cases)[cases[0]], AssertionError)


@pytest.mark.parametrize("kind", list(MODELS))
def test_predicted_memory_is_what_the_engine_allocates(kind):
    sparse = make_cases(MODELS[kind], layer_counts=(3,))[1]
    workload = make_step_workload(sparse.cell, device="cpu", seed=0)
    parts = step_memory(sparse.shape).parts
    assert parts["weights"] == workload.decoder.weights.num_bytes
    assert parts["kv"] + parts["summaries"] == workload.cache.num_bytes


def test_a_cell_that_does_not_fit_is_refused_with_the_arithmetic(runner):
    cases = make_cases(replace(DENSE_MODEL, num_layers=4000), layer_counts=(4000,), context_len=2**20)
    outcomes = runner.run(cases[0].cell, cases)
    assert all("GiB (" in str(reason) and "kv" in str(reason) for reason in outcomes.values())


def test_steps_are_timed_cold(runner):
    cases = make_cases(DENSE_MODEL, layer_counts=(1,))
    assert all(one.canary_bytes_per_s > 0 for one in runner.run(cases[0].cell, cases).values())


def test_a_step_without_attention_has_as_many_layers_as_the_one_with_it(runner, monkeypatch):
    timed, call = [], StepWorkload.call

    def noting(self, num_layers, attention, **how):
        timed.append((num_layers, attention is without_attention))
        return call(self, num_layers, attention, **how)

    monkeypatch.setattr(StepWorkload, "call", noting)
    cases = make_cases(DENSE_MODEL, layer_counts=(2, 3))
    runner.run(cases[0].cell, cases)
    bare = sorted(layers for layers, is_bare in timed if is_bare)
    assert bare == sorted(case.num_layers for case in cases)


@pytest.mark.parametrize(
    "case", [case for case in make_cases(DENSE_MODEL, layer_counts=(1,)) if case.kv_budget], ids=str
)
def test_a_step_keeps_as_many_pages_as_its_prediction_reads(case):
    kept = page_selection(settings_of(case).policy, page_size=case.cell.page_size)
    assert kept.num_pages == case.shape.num_kept_pages == 128 // 16
