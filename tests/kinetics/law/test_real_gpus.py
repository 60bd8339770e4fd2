"""The published curves in seconds of real GPUs: what each cost buys, what sparsity is worth there, what is recorded."""

import csv
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from kinetics.cli.main import app
from kinetics.cost.published import paper_cost
from kinetics.law.frontier import Curve
from kinetics.law.published import read_published_curves
from kinetics.law.real_gpu_tables import real_gpu_tables, unmeasured_remarks
from kinetics.law.real_gpus import PROMPT_LEN, PaperOnGpu, gain_over_dense, paper_on_gpu
from kinetics.law.silicon_costs import SiliconPricing
from kinetics.specs.generation import MAX_GENERATED
from kinetics.specs.hardware import find_accelerator
from kinetics.specs.models import find_model
from kinetics.specs.policies import Dense, PolicyKind
from tests.support.paths import ROOT

RUNNER = CliRunner()
RECORDED = ROOT / "results" / "real_gpus"


@lru_cache(maxsize=4)
def on(device: str, batch: int) -> PaperOnGpu:
    return paper_on_gpu(read_published_curves(), find_accelerator(device), "vllm", batch=batch)


def test_a_dense_cost_is_the_answer_that_the_published_formula_makes_for_it() -> None:
    generated = 8000
    model = find_model("Qwen3-8B")
    cost = float(paper_cost(model, Dense(), prompt_len=PROMPT_LEN, generated=generated, trials=1).total)
    grid = np.array([cost / 2, cost, 1e9])
    curve = Curve(model=model.name, kind=PolicyKind.DENSE, cost=grid, accuracy=np.array([0.1, 0.5, 0.6]))
    device = find_accelerator("H200")
    (timed,) = paper_on_gpu([curve], device, "vllm", batch=16, kinds=[PolicyKind.DENSE]).frontiers[0].curves
    pricing = SiliconPricing(device=device, framework="vllm", batch=16)
    for i, length in ((1, generated), (2, MAX_GENERATED)):
        expected = pricing.cost_model(model).mean_costs(Dense(), prompt_len=PROMPT_LEN, lengths=[length], trials=[1])
        assert timed.seconds[i] == pytest.approx(float(expected[0]), rel=0.02)
    assert np.all(timed.low_s < timed.seconds)
    assert np.all(timed.seconds < timed.high_s)


def test_no_accuracy_is_lost_or_made() -> None:
    published = read_published_curves()
    for kind in (PolicyKind.DENSE, PolicyKind.TOPK):
        best = max(float(curve.accuracy.max()) for curve in published if curve.kind is kind)
        assert on("H200", 64).of_kind(kind).predicted.accuracy[-1] == pytest.approx(best)


def test_sparse_attention_is_worth_more_the_larger_the_batch_and_less_than_by_eflop() -> None:
    ratios = []
    for batch in (1, 64):
        dense, sparse = (on("H200", batch).of_kind(kind) for kind in (PolicyKind.DENSE, PolicyKind.TOPK))
        ratios.append(gain_over_dense(dense, sparse).cost_ratio)
    assert [ratio.low <= ratio.value <= ratio.high for ratio in ratios] == [True] * 2
    assert ratios[0].value < ratios[1].value
    assert ratios[1].high < 11


def test_a_search_that_is_paid_for_is_no_cheaper_than_a_free_one_where_both_were_measured() -> None:
    found = on("H200", 64)
    free, paid = (found.of_kind(kind).predicted.accuracy for kind in (PolicyKind.TOPK, PolicyKind.BLOCK_TOPK))
    assert np.mean(paid <= free + 1e-9) > 0.9


def test_a_sure_lead_is_no_lead_if_the_band_is_wide() -> None:
    dense = on("H200", 64).of_kind(PolicyKind.DENSE)
    wide = tuple(replace(curve, low_s=curve.seconds / 100, high_s=curve.seconds * 100) for curve in dense.curves)
    names = [curve.model for curve in dense.curves]
    assert any((dense.leads(name) > 0).any() for name in names)
    assert not any((replace(dense, curves=wide).leads(name) > 0).any() for name in names[2:])


def test_a_part_without_a_fit_is_said_and_nothing_else_is() -> None:
    assert list(unmeasured_remarks([on("H200", 64)])) == []
    curves = [curve for curve in read_published_curves() if curve.model == "Qwen3-8B"]
    (remark,) = unmeasured_remarks([paper_on_gpu(curves, find_accelerator("A100"), "vllm", batch=1)])
    assert "never measured on A100" in remark
    assert "msa module" in remark


@pytest.mark.parametrize(
    ("name", "keys", "numbers"),
    [
        ("real_gpu_gains", ("attention", "gpus_a_model"), ("cost_ratio_at_dense_maximum", "ratio_low", "ratio_high")),
        ("real_gpu_seconds", ("attention", "accuracy"), ("gpu_seconds", "low", "high")),
    ],
)
def test_the_recorded_tables_are_what_the_fits_say(name: str, keys: tuple[str, ...], numbers: tuple[str, ...]) -> None:
    # Fits made anew move a little; a table that has moved by more is to be made anew, and docs/law.md shows it:
    # kinetics law --on A100,H100,H200,B200 --framework vllm --out results/real_gpus
    table = next(one for one in real_gpu_tables(read_published_curves(), [on("H200", 64)]) if one.name == name)
    found = [row for row in csv.DictReader(table.as_csv().splitlines()) if row["device"].startswith("H200")]
    recorded = [row for row in rows_of(name) if row["device"].startswith("H200") and row["batch"] == "64"]
    assert [[row[key] for key in keys] for row in found] == [[row[key] for key in keys] for row in recorded]
    for row, known in zip(found, recorded, strict=True):
        assert [float(row[key]) for key in numbers] == pytest.approx([float(known[key]) for key in numbers], rel=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--framework", "vllm"], "--framework vllm needs"),
        (["--framework", "vllm", "--on", "H200,H900"], "accelerator must name one row"),
        (["--framework", "vllm", "--on", "L40S", "--batch", "4096"], "got too little memory"),
        (["--framework", "vllm", "--on", "H200", "--measured", "x.json"], "--measured needs samples"),
    ],
)
def test_options_that_do_not_fit_are_one_line(tmp_path: Path, options: list[str], message: str) -> None:
    result = RUNNER.invoke(app, ["law", "--no-figures", "--out", str(tmp_path / "out"), *options])
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    assert message in result.stderr


def test_one_device_and_batch_from_the_command_line(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: report)")
    command = ["law", "--on", "B200", "--framework", "vllm", "--batch", "16", "--out", str(tmp_path)]
    result = RUNNER.invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "cost ratio at dense maximum" in result.stdout
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".md", ".png", ".svg"}


def rows_of(name: str) -> list[dict[str, Any]]:
    with (RECORDED / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_device_and_batch_is_recorded_beside_the_papers_own_counting() -> None:
    rows = rows_of("real_gpu_gains")
    assert {(row["device"].split("-")[0].split()[0], row["batch"]) for row in rows} == {
        ("as", "any"),
        *((device, batch) for device in ("A100", "H100", "H200", "B200") for batch in ("1", "16", "64")),
    }
