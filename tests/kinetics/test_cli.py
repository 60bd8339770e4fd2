"""Verbs print one JSON document on stdout when asked, and one line on stderr when a value is wrong."""

import json
import sys

import pytest

from kinetics.cli import main


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["kinetics", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_predict_on_a_named_accelerator_is_bytes_over_bandwidth(monkeypatch, capsys):
    verb = ["predict", "--model", "qwen3_8b", "--batch", "64", "--context", "32k", "--on", "H200", "--json"]
    assert run(monkeypatch, *verb) == 0
    found = json.loads(capsys.readouterr().out)
    kv_bytes = 64 * 32768 * 2 * 8 * 128 * 2
    q_and_out_bytes = 64 * 2 * 32 * 128 * 2
    assert found["minimum_bytes"] == kv_bytes + q_and_out_bytes
    assert found["predicted_s"] == pytest.approx(found["minimum_bytes"] / 4.8e12)
    assert found["bound"] == "memory"


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
        (("predict", "--on", "H200", "--page-size", "24"), "kinetics: kv_budget must be|kinetics: page_size must be"),
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
