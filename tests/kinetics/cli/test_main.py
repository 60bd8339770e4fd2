"""Verbs print one JSON document on stdout when asked, and one line on stderr when a value is wrong."""

import json
import sys

import pytest

from kinetics.cli.main import main


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["kinetics", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_predict_on_a_named_accelerator_is_bytes_over_bandwidth(monkeypatch, capsys):
    verb = ["predict", "--model", "qwen3_8b", "--batch", "64", "--context", "32k", "--on", "H200", "--json"]
    verb += ["--operation", "dense"]
    assert run(monkeypatch, *verb) == 0
    found = json.loads(capsys.readouterr().out)
    kv_bytes = 64 * 32768 * 2 * 8 * 128 * 2
    q_and_out_bytes = 64 * 2 * 32 * 128 * 2
    assert found["minimum_bytes"] == kv_bytes + q_and_out_bytes
    assert found["predicted_s"] == pytest.approx(found["minimum_bytes"] / 4.8e12)
    assert found["bound"] == "memory"


STEP = ("predict", "--model", "qwen3_32b", "--batch", "64", "--context", "32k", "--on", "H200")


def predicted_step(monkeypatch, capsys, *arguments):
    assert run(monkeypatch, *STEP, *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_a_predicted_step_is_the_sum_of_its_parts(monkeypatch, capsys):
    step = predicted_step(monkeypatch, capsys, "--operation", "step_dense")
    parts_s = [step[f"{part}_s"] for part in ("launch", "weights", "attention", "activations")]
    assert step["predicted_s"] == pytest.approx(sum(parts_s))
    assert step["tokens_per_s"] == pytest.approx(64 / step["predicted_s"])
    assert not step["fits"]
    assert step["required_bytes"] > step["memory_bytes"] == 141e9


def test_devices_share_a_step_and_pay_for_the_link(monkeypatch, capsys):
    alone = predicted_step(monkeypatch, capsys, "--operation", "step_dense")
    shared = predicted_step(
        monkeypatch, capsys, "--operation", "step_dense", "--num-devices", "8", "--link-gb-per-s", "450"
    )
    assert shared["weights_s"] == pytest.approx(alone["weights_s"] / 8, rel=0.01)
    assert shared["attention_s"] == pytest.approx(alone["attention_s"] / 8, rel=0.01)
    assert shared["all_reduce_s"] > 0
    assert shared["fits"]


def test_local_attention_is_block_topk_without_its_search(monkeypatch, capsys):
    local, searched = (
        predicted_step(monkeypatch, capsys, "--operation", f"step_{policy}") for policy in ("local", "block_topk")
    )
    assert local["attention_s"] < searched["attention_s"]
    assert local["required_bytes"] < searched["required_bytes"]
    assert local["weights_s"] == searched["weights_s"]


def test_probe_reports_every_ceiling(monkeypatch, capsys):
    assert run(monkeypatch, "probe", "--device", "cpu", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    for name in ("read_bytes_per_s", "cached_read_bytes_per_s", "copy_bytes_per_s", "matmul_flop_per_s", "launch_s"):
        assert found[name] > 0
    assert found["read_bytes_per_s"] >= found["medians"]["read_bytes_per_s"]
    assert found["launch_s"] <= found["medians"]["launch_s"]


def test_providers_lists_ours_as_able_here(monkeypatch, capsys):
    assert run(monkeypatch, "providers", "--device", "cpu", "--json") == 0
    by_name = {row["provider"]: row for row in json.loads(capsys.readouterr().out)["providers"]}
    assert by_name["ours"]["reason"] is None
    assert by_name["torch_sdpa"]["operations"] == ["dense"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("predict", "--operation", "guess"), "kinetics: --operation must be one of dense"),
        (("predict", "--on", "H2"), "kinetics: accelerator must name one row of the table, got 'H2'"),
        ((*STEP, "--operation", "step_dense", "--num-devices", "4"), "kinetics: link_bytes_per_s must be given"),
        ((*STEP, "--operation", "step_dense", "--num-devices", "7"), "kinetics: num_devices must divide the 64"),
        (("probe", "--device", "tpu"), "kinetics: --device must be auto, cpu"),
    ],
)
def test_a_wrong_value_is_one_line_and_exit_code_two(monkeypatch, capsys, arguments, line):
    assert run(monkeypatch, *arguments) == 2
    stderr = capsys.readouterr().err
    assert stderr.count("\n") == 1
    assert any(stderr.startswith(text) for text in line.split("|"))


def test_an_unknown_verb_is_a_usage_error(monkeypatch):
    assert run(monkeypatch, "predictt") == 2
