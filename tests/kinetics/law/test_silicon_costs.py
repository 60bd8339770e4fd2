"""Answers in seconds of a named device: sums of predicted steps, their band, and what readers are told."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from kinetics.cli.main import app
from kinetics.law.silicon_costs import Edge, SiliconPricing, parts_table, pricing_notes
from kinetics.prediction.step_silicon import StepQuery, step_time
from kinetics.samples.sample_set import Question, SampleSet
from kinetics.specs.hardware import find_accelerator
from kinetics.specs.models import find_model
from kinetics.specs.policies import AttentionPolicy, BlockTopK, Dense, TopK

RUNNER = CliRunner()
MODEL = find_model("Qwen3-8B")
BLOCKS = BlockTopK(block_size=32, top_blocks=16)
POLICIES = [Dense(), TopK(kv_budget=256), BLOCKS]


def pricing_on(device: str = "H200", **options: Any) -> SiliconPricing:
    return SiliconPricing(device=find_accelerator(device), framework="vllm", **options)


def cost_s(pricing: SiliconPricing, policy: AttentionPolicy, generated: int, edge: Edge = Edge.PREDICTED) -> float:
    found = pricing.cost_model(MODEL, edge).mean_costs(policy, prompt_len=200, lengths=[generated], trials=[1])
    return float(found[0])


@pytest.mark.parametrize("policy", POLICIES)
def test_an_answer_is_the_sum_of_its_steps_shared_by_the_batch(policy: AttentionPolicy) -> None:
    contexts = np.arange(201, 201 + 4000, 100)
    steps = [
        step_time(
            StepQuery(architecture=MODEL.architecture, batch=16, context_len=int(n), policy=policy),
            find_accelerator("H200"),
            "vllm",
        ).seconds
        for n in contexts
    ]
    assert cost_s(pricing_on(batch=16), policy, 4000) == pytest.approx(4000 * np.mean(steps) / 16, rel=0.02)


def test_all_devices_that_share_a_model_are_paid_for() -> None:
    pricing = pricing_on(batch=16, num_devices=4)
    step_s = pricing.step(MODEL, Dense(), 1000).seconds
    assert cost_s(pricing, Dense(), 1) > 0
    assert cost_s(pricing, Dense(), 1600) / 1600 == pytest.approx(4 * step_s / 16, rel=0.05)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_band_holds_the_prediction(policy: AttentionPolicy) -> None:
    low, middle, high = (cost_s(pricing_on(), policy, 3000, edge) for edge in (Edge.LOW, Edge.PREDICTED, Edge.HIGH))
    assert low < 0.99 * middle
    assert high > 1.01 * middle


def test_layers_that_run_dense_are_priced_dense() -> None:
    all_sparse, all_dense = cost_s(pricing_on(), BLOCKS, 8000), cost_s(pricing_on(), Dense(), 8000)
    mixed = cost_s(pricing_on(num_dense_layers=9), BLOCKS, 8000)
    assert mixed == pytest.approx(0.75 * all_sparse + 0.25 * all_dense)
    assert cost_s(pricing_on(num_dense_layers=9), Dense(), 8000) == all_dense


def test_what_fits_is_what_memory_holds() -> None:
    largest = pricing_on(batch=64).largest_context(MODEL, Dense())
    free = 0.9 * 141e9 - 2 * MODEL.num_parameters
    assert largest == pytest.approx(free / (64 * MODEL.kv_bytes_per_token(2)), rel=0.01)


def made_samples(policy: AttentionPolicy, longest: int = 1000) -> SampleSet:
    question = Question(
        question_id="q", prompt_len=100, lengths=(500, longest), answers=("5", "6"), is_correct=(True, False)
    )
    return SampleSet(
        model=MODEL.name, dataset="aime24", policy=policy, questions=(question,), has_estimated_lengths=False
    )


def test_a_part_that_nobody_measured_there_is_said_and_a_fit_is_not() -> None:
    notes = {
        device: list(pricing_notes(pricing_on(device), [made_samples(BLOCKS)], {MODEL.name: MODEL}))
        for device in ("A100", "H200")
    }
    assert "MSA" in notes["H200"][0]
    assert len(notes["H200"]) == 1
    assert any("never measured on A100" in note and "msa module" in note for note in notes["A100"])


def test_answers_that_do_not_fit_are_named_with_the_remedy() -> None:
    samples = [made_samples(Dense(), longest) for longest in (1000, 30_000)]
    short, long = (" ".join(pricing_notes(pricing_on(), [one], {MODEL.name: MODEL})) for one in samples)
    assert "memory" not in short
    assert "of 30,100 tokens" in long
    assert "--tp" in long


def test_the_parts_add_up_to_the_step() -> None:
    table = parts_table(pricing_on(), [(MODEL, policy) for policy in POLICIES])
    shares: dict[Any, Any] = {}
    for row in table.rows:
        found: dict[str, Any] = dict(zip(table.columns, row, strict=True))
        shares[found["attention"]] = shares.get(found["attention"], 0.0) + found["share"]
        assert found["source"]
    assert list(shares.values()) == pytest.approx([1.0] * 3)


def write_samples(path: Path) -> Path:
    header = "model,dataset,question_id,trial,generated_length,length_unit,answer,gold,correct,policy"
    rows = [
        f"{model},aime24,q{q},{t},{1000 * (q + 1) + 500 * t},tokens,5,5,{int((q * 7 + t * 3 + odd) % 3 > 0)},{policy}"
        for odd, model in enumerate(("Qwen3-0.6B", "Qwen3-8B"))
        for policy in ("dense", "block32_blocktopk16")
        for q in range(8)
        for t in range(4)
    ]
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def law(*args: Any) -> dict[str, Any]:
    result = RUNNER.invoke(app, ["law", *map(str, args), "--json", "--no-figures"])
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_the_frontier_carries_the_errors_of_its_parts(tmp_path: Path) -> None:
    samples = write_samples(tmp_path / "s.csv")
    found = law(samples, "--on", "H200", "--framework", "vllm", "--batch", 16, "--out", tmp_path / "out")
    assert "H200" in found["device"]
    with (tmp_path / "out" / "frontier_long_cot.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["dense_best_model"] != "none"]
    for row in rows:
        low, middle, high = (float(row[name]) for name in ("dense_seconds_low", "seconds", "dense_seconds_high"))
        assert low < middle < high
    assert (tmp_path / "out" / "pricing_parts.csv").is_file()
    counted = law(samples, "--on", "H200", "--out", tmp_path / "counted")
    assert "dense_seconds_low" not in (tmp_path / "counted" / "frontier_long_cot.csv").read_text()
    assert counted["pricing"] != found["pricing"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--framework", "vllm"], "--framework vllm needs a device"),
        (["--on", "H200", "--framework", "tgi"], "framework must be one of"),
        (["--on", "H200", "--tp", "2"], "--tp needs --framework"),
        (["--on", "H200", "--framework", "vllm", "--tp", "3"], "must divide 16 query heads"),
        (["--dollars-per-hour", "-1"], "--dollars-per-hour must be a number above 0"),
        (["--dollars-per-hour", "nan"], "--dollars-per-hour must be a number above 0"),
    ],
)
def test_options_that_do_not_fit_are_one_line(tmp_path: Path, options: list[str], message: str) -> None:
    samples = write_samples(tmp_path / "s.csv")
    result = RUNNER.invoke(app, ["law", str(samples), "--out", str(tmp_path / "out"), "--no-figures", *options])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


def test_dollars_follow_from_seconds(tmp_path: Path) -> None:
    options = ["--on", "H200", "--framework", "vllm", "--dollars-per-hour", 3.6, "--out", tmp_path / "out"]
    law(write_samples(tmp_path / "s.csv"), *options)
    with (tmp_path / "out" / "strategies.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert float(row["dollars"]) == pytest.approx(0.001 * float(row["seconds"]), rel=1e-4)
        if float(row["accuracy"]):
            right = float(row["dollars"]) / float(row["accuracy"])
            assert float(row["dollars_per_right_answer"]) == pytest.approx(right, rel=1e-4)
