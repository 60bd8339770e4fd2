"""The scripts that set predictions beside another estimator and beside served runs count every part once."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.scripts import script

sys.path.insert(0, str(ROOT / "scripts"))
estimators, served, judge = script("compare_estimators"), script("compare_served"), script("judge_predictions")
CASE = {"system": "h100_sxm", "framework": "vllm", "version": "0.24.0", "batch": 16, "context_len": 4097}
# as the estimator names the parts of its steps
THEIRS = {
    "generation_embedding": 1, "generation_add_norm_1": 2, "generation_qkv_gemm": 4, "generation_attention": 8,
    "generation_proj_gemm": 16, "generation_router_gemm": 32, "generation_moe": 64, "generation_gate_ffn1_gemm": 128,
    "generation_moe_pre_dispatch": 256, "generation_moe_post_dispatch": 512, "generation_logits_gemm": 1024,
    "generation_ar_1": 2048, "generation_embedding_ar": 4096, "generation_act_gate": 8192, "generation_p2p": 16384,
    "generation_moe_overlap": 32768,
}  # fmt: skip


@pytest.mark.parametrize(("model", "num_devices"), list(estimators.MODELS.items()))
def test_every_part_of_our_step_is_of_one_kind(model, num_devices):
    found = estimators.our_step({**CASE, "model": model, "num_devices": num_devices})
    parts = estimators.our_parts(found)
    assert sum(parts.values()) == pytest.approx(1e3 * found.seconds)
    assert min(parts.values()) >= 0
    has_projections = model != "deepseek-ai/DeepSeek-V3.2"
    assert (parts["projections"] > 0) is has_projections
    assert (parts["sums"] > 0) is (num_devices > 1)


def test_every_part_of_their_step_is_of_one_kind():
    assert estimators.their_parts(THEIRS) == {
        "attention": 8, "projections": 4 + 16, "MLP and experts": 32 + 64 + 128 + 32768, "head": 1024,
        "sums": 256 + 512 + 2048 + 4096 + 16384, "small kernels": 1 + 2 + 8192,
    }  # fmt: skip


def test_what_the_other_cannot_answer_is_said_and_left_out(capsys):
    cases = [{**CASE, "model": "Qwen/Qwen3-8B", "num_devices": 1} for _ in range(2)]
    (compared,) = estimators.compare_steps(cases, [{"error": "no such table"}, {"parts": {"generation_attention": 10}}])
    assert compared.ratio == pytest.approx(sum(compared.ours.values()) / 10)
    assert "left out: Qwen/Qwen3-8B on h100_sxm: no such table" in capsys.readouterr().err
    (row,) = estimators.steps_table([compared]).rows
    assert row[:3] == ("Qwen3-8B", 1, "h100_sxm")
    assert row[3].endswith(" / 10.00")


def test_the_estimator_is_asked_in_its_own_environment(tmp_path, monkeypatch):
    peer = tmp_path / "peer.py"
    peer.write_text("import json, sys; json.dump({'steps': json.load(sys.stdin)['steps']}, sys.stdout)")
    ask_peer = estimators.ask_peer
    monkeypatch.setitem(ask_peer.__globals__, "PEER_SCRIPT", peer)
    assert ask_peer(Path(sys.executable), steps=[{"batch": 1}]) == {"steps": [{"batch": 1}]}


RUN = {
    "id": "one", "silicon_data_source": "x; silicon_concurrency=64;", "mode": "agg", "pp_size": "1",
    "attention_dp_size": "1", "moe_ep_size": "1", "batch_size": "64", "isl": "1024", "osl": "1024", "tp_size": "2",
    "model_path": "Qwen/Qwen3-32B", "gemm_quant_mode": "fp8", "moe_quant_mode": "fp8", "system": "h200_sxm",
    "backend": "vllm", "silicon_tpot_ms": "20",
}  # fmt: skip


def read(tmp_path, *runs):
    path = tmp_path / "runs.csv"
    lines = [",".join(RUN), *(",".join({**RUN, **run}.values()) for run in runs)]
    path.write_text("\n".join(lines), encoding="utf-8")
    left_out = Counter()
    return list(served.read_served(path, left_out)), left_out


def test_a_served_run_is_a_step_of_its_batch_at_its_mean_context(tmp_path):
    (run,), left_out = read(tmp_path, {})
    assert (run.step.context_len, run.step.batch, run.measured_s) == (1536, 64, 0.020)
    assert 0 < run.roof_s < run.predicted_s
    assert not left_out
    (slower,), _ = read(tmp_path, {"gemm_quant_mode": ""})
    assert slower.roof_s > 1.5 * run.roof_s


def test_runs_that_are_no_such_step_are_counted_by_the_reason(tmp_path):
    odd = [{"mode": "disagg"}, {"moe_ep_size": "8"}, {"batch_size": "32"}, {"tp_size": "5"}]
    runs, left_out = read(tmp_path, {}, *odd)
    assert len(runs) == 1
    assert left_out.total() == 4
    assert len(left_out) == 4


def test_the_band_compares_both_on_the_runs_that_both_answered(tmp_path):
    runs, _ = read(tmp_path, *[{"id": str(i), "silicon_tpot_ms": str(20 + i % 2)} for i in range(10)])
    assert [row[:2] for row in served.band_table(runs, {}).rows] == [(64, 10)]
    (row,) = served.band_table(runs, {runs[0].step: 0.010}).rows
    assert row[-2:] == ("2.05", "10")


def test_published_counts_are_kept():
    assert [(name, kept) for name, _, _, kept, _ in judge.counts()] == [
        ("parameters, largest difference", True),
        ("bytes of a token in the cache", True),
    ]


def test_a_broken_promise_is_shown_as_broken(monkeypatch):
    promise = {
        "operation": "dsa", "split": "alternate", "promised_median": 0.06, "promised_p90": 0.18, "median_error": 0.2,
        "p90_error": 0.3, "kept": False, "rows": 10, "kernels": 2, "kernels_within": 0,
    }  # fmt: skip

    class Done:
        returncode = 1
        stdout = json.dumps({"promises": [promise]})

    monkeypatch.setattr(judge.subprocess, "run", lambda *_, **__: Done)
    ((name, promised, found, kept, _),) = judge.errors(1)
    assert (name, promised, found) == ("dsa alternate: median / p90", "6% / 18%", "20.0% / 30.0%")
    assert not kept
