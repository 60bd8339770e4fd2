"""Rows of decode steps: attention's share, extrapolation, and every field that a measured row must carry."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kinetics.cases.kernels import GridOptions, GridSize
from kinetics.cases.steps import StepCase, StepCell, step_cases
from kinetics.results.field import Rows
from kinetics.results.fields import check_fields, fields_of
from kinetics.results.step_row import StepMeasured, extrapolate
from kinetics.specs.ceilings import Ceilings
from kinetics.specs.models import find_model
from kinetics.specs.policies import PolicyKind
from tests.support.result_rows import CIRCUMSTANCES

CEILINGS = Ceilings(
    read_bytes_per_s=1e10, cached_read_bytes_per_s=9e10, copy_bytes_per_s=9e9, matmul_flop_per_s=1e11, launch_s=1e-6,
    cache_bytes=2**25,
)  # fmt: skip


def make_case(*, num_layers=28, policy=PolicyKind.DENSE, kv_budget=None, batch=8, layer_counts=(1, 4, 28)):
    cell = StepCell(
        model=find_model("Qwen3-0.6B"), layer_counts=layer_counts, batch=batch, context_len=2048, page_size=16,
        device_kind="cpu", dtype="float32", uses_cuda_graph=False,
    )  # fmt: skip
    return StepCase(cell=cell, policy=policy, num_layers=num_layers, kv_budget=kv_budget)


def measured(case, *, samples=(0.5, 0.4, 0.6), bare=(0.3, 0.2, 0.4), extrapolated_s=None):
    return StepMeasured(
        case=case, provider_version="1", samples_s=samples, bare_samples_s=bare,
        extrapolated_s=extrapolated_s, max_abs_error=1e-6, canary_bytes_per_s=1e10, required_bytes=10,
        available_bytes=20,
    )  # fmt: skip


def test_a_step_row_carries_the_fields_of_every_row_and_its_own():
    row = replace(measured(make_case(), extrapolated_s=0.55), circumstances=CIRCUMSTANCES).row(CEILINGS)
    assert row.keys() == set(fields_of(Rows.STEP))
    check_fields(row)
    assert row["attention_share"] == pytest.approx(1 - 0.3 / 0.5)
    assert row["tokens_per_s"] == pytest.approx(8 / 0.5)
    assert row["extrapolation_error"] == pytest.approx(0.1)
    assert row["operation"] == "step_dense"


def test_a_partial_model_reports_the_extrapolated_step():
    row = measured(make_case(num_layers=2), extrapolated_s=2.0).row(CEILINGS)
    assert row["tokens_per_s"] == pytest.approx(8 / 2.0)
    assert row["full_model_is_extrapolated"] is True
    assert row["extrapolation_error"] is None


def test_extrapolation_adds_the_layers_that_were_not_run():
    one, four = [0.10, 0.30, 0.11], [0.15, 0.37, 0.16]
    by_round = sorted(a + 27 * (b - a) / 3 for a, b in zip(one, four, strict=True))
    assert extrapolate({4: four, 1: one}, num_layers=28) == pytest.approx(by_round[1])
    assert extrapolate({1: one, 4: four}, num_layers=4) == pytest.approx(0.16)


def test_ids_tell_policy_model_layers_batch_context_and_budget():
    case = make_case(policy=PolicyKind.BLOCK_TOPK, kv_budget=1024, num_layers=2)
    assert str(case) == "step-block_topk-qwen3_0.6b-l2-b8-c2k-k1k"
    assert str(make_case()) == "step-dense-qwen3_0.6b-l28-b8-c2k"


@pytest.mark.parametrize(
    "wrong",
    [
        {"kv_budget": 512},
        {"policy": PolicyKind.BLOCK_TOPK},
        {"policy": PolicyKind.LOCAL},
        {"policy": PolicyKind.BLOCK_TOPK, "kv_budget": 40},
    ],
)
def test_a_budget_that_fits_no_policy_is_refused(wrong):
    with pytest.raises(ValueError, match="kv_budget"):
        make_case(**wrong)


def test_partial_models_hold_one_table_and_the_layers_asked_for():
    partial = replace(make_case(layer_counts=(1, 2)).cell, model=find_model("Qwen3-8B"))
    assert partial.largest.num_layers == 2
    assert partial.largest.ties_embeddings
    assert not replace(partial, layer_counts=(36,)).largest.ties_embeddings


def test_the_default_grid_has_the_full_model_the_extrapolated_one_and_both():
    cases = step_cases(GridOptions(size=GridSize.QUICK, device_kind="cpu", dtype="float32"))
    assert len({str(case) for case in cases}) == len(cases) >= 12
    assert {1, 4, 28} <= {case.num_layers for case in cases if case.cell.layer_counts == (1, 4, 28)}
    assert not any(case.policy is PolicyKind.LOCAL for case in cases)
    assert any(case.is_full for case in cases)
    assert any(case.cell.model.num_experts for case in cases)


def test_a_named_model_is_measured_whole_at_the_points_asked_for():
    options = GridOptions(
        size=GridSize.QUICK, device_kind="cpu", dtype="float32", models=("Qwen3-1.7B",), batches=(1, 2),
        context_lens=(4096,), kv_budgets=(512,),
    )  # fmt: skip
    cases = step_cases(options)
    assert [str(case) for case in cases] == [
        f"step-{policy}-qwen3_1.7b-l28-b{batch}-c4k{budget}"
        for batch in (1, 2)
        for policy, budget in (("dense", ""), ("block_topk", "-k512"), ("local", "-k512"))
    ]


@pytest.mark.parametrize("policy", [PolicyKind.BLOCK_TOPK, PolicyKind.LOCAL])
def test_the_kept_pages_add_up_to_the_budget(policy):
    case = make_case(policy=policy, kv_budget=1024)
    num_scored = case.num_scored_pages if policy is PolicyKind.BLOCK_TOPK else 0
    assert 1 + num_scored + case.num_local_pages + 1 == 1024 // 16 == case.shape.num_kept_pages


def test_a_gpu_gets_each_step_eager_and_from_a_graph():
    cases = step_cases(GridOptions(size=GridSize.SMOKE, device_kind="cuda", dtype="bfloat16"))
    assert {case.cell.uses_cuda_graph for case in cases} == {True, False}
