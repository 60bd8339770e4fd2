"""Paper mode equals the published code to 1e-12, and its known mistakes are where they are said to be."""

import csv

import pytest

from kinetics.cost.answers import answer_work
from kinetics.cost.published import attention_to_parameter_ratio, mean_paper_cost, num_published_parameters, paper_cost
from kinetics.specs.models import find_model
from kinetics.specs.policies import BlockTopK, Dense, TopK
from tests.support.paths import DATA

COSTS = list(csv.DictReader((DATA / "reference_costs.csv").open()))
MEAN_COSTS = list(csv.DictReader((DATA / "reference_expected_cost.csv").open()))


def reference_policy(row):
    if row["method"] == "dense":
        return Dense()
    if row["method"] == "topk":
        return TopK(kv_budget=int(row["budget"]))
    return BlockTopK(
        block_size=int(row["block_size"]), top_blocks=int(row["block_topk"]), num_local=int(row.get("local") or 0)
    )


@pytest.mark.parametrize("row", COSTS, ids=lambda row: f"row{row['id']}")
def test_paper_mode_equals_the_published_function(row):
    cost = paper_cost(
        find_model(row["model"]),
        reference_policy(row),
        prompt_len=int(row["context"]),
        generated=int(row["generation"]),
        trials=int(row["trials"]),
        num_parameters=float(row["nparams"]),
        intensity=float(row["E_flops"]),
    )
    assert cost.compute == pytest.approx(float(row["compute_cost"]), rel=1e-12)
    assert cost.memory == pytest.approx(float(row["memory_cost"]), rel=1e-12)


@pytest.mark.parametrize("row", MEAN_COSTS, ids=lambda row: f"{row['method']}-{row['model']}-n{row['trials']}")
def test_mean_paper_cost_equals_the_published_function(row):
    cost = mean_paper_cost(
        find_model(row["model"]),
        reference_policy(row),
        prompt_len=int(row["context"]),
        lengths=[int(n) for n in row["lengths"].split()],
        trials=int(row["trials"]),
    )
    assert cost.compute == pytest.approx(float(row["compute_cost"]), rel=1e-12)
    assert cost.memory == pytest.approx(float(row["memory_cost"]), rel=1e-12)


@pytest.mark.parametrize(
    ("kv_budget", "prompt_len", "mean_length", "compute", "memory"),
    [
        (256, 218, 10754.3125, 177.779911, 228.413344),
        (512, 128, 6894.6875, 115.060594, 298.914251),
        (1024, 212, 4576.75, 77.925878, 416.069001),
    ],
)
def test_rows_of_the_published_comparison_are_reproduced(kv_budget, prompt_len, mean_length, compute, memory):
    # Top-k cost is linear in length, so the mean length stands for the published 32 of each row.
    cost = paper_cost(find_model("Qwen3-8B"), TopK(kv_budget=kv_budget), prompt_len=prompt_len, generated=mean_length)
    assert cost.compute == pytest.approx(compute, abs=5e-7)
    assert cost.memory == pytest.approx(memory, abs=5e-7)


def test_published_topk_overcharges_the_warm_up():
    model, shape = find_model("Qwen3-8B"), {"prompt_len": 200, "generated": 2048}
    exact = answer_work(model, TopK(kv_budget=1024), **shape).num_bytes
    published = paper_cost(model, TopK(kv_budget=1024), intensity=1.0, **shape).memory * 1e12
    assert published / exact == pytest.approx(1.386, abs=2e-3)


def test_published_block_topk_goes_negative_before_the_budget_is_reached():
    short = paper_cost(find_model("Qwen3-8B"), BlockTopK(block_size=8, top_blocks=256), prompt_len=0, generated=100)
    assert short.memory < 0


def test_attention_ratio_reproduces_the_published_range():
    ratios = {
        name: attention_to_parameter_ratio(find_model(name), prompt_len=0, generated=4096)
        for name in ("Qwen3-0.6B", "Qwen3-14B", "Qwen3-32B")
    }
    assert [round(ratio, 1) for ratio in ratios.values()] == [88.2, 6.4, 4.7]


def test_paper_mode_refuses_what_the_paper_does_not_know():
    with pytest.raises(ValueError, match="neither sink tokens nor partial blocks"):
        paper_cost(find_model("Qwen3-8B"), TopK(kv_budget=8, num_sink_tokens=4), prompt_len=1, generated=1)
    with pytest.raises(ValueError, match="must be in the paper's parameter table, got Qwen3-30B-A3B"):
        num_published_parameters(find_model("Qwen3-30B-A3B"))
