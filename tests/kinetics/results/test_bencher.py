"""Bencher Metric Format: nanoseconds, bounds on the right sides, only what was timed and is valid; by both verbs."""

import json

import pytest
from typer.testing import CliRunner

from kinetics.cli.main import app
from kinetics.gate.bencher_metrics import bencher_metrics
from kinetics.results.bencher import benchmark_name, latency_metric, metric, metrics_of


def assert_is_bmf(document):
    """The rules of Bencher's schema, bencher.dev/bmf.json."""
    for name, measures in document.items():
        assert 0 < len(name) <= 1024
        assert measures
        for values in measures.values():
            assert values.keys() <= {"value", "lower_value", "upper_value"}
            assert all(type(value) in (int, float) for value in values.values())
            assert values.get("lower_value", values["value"]) <= values["value"]
            assert values["value"] <= values.get("upper_value", values["value"])


def test_latencies_are_nanoseconds_between_quartiles():
    assert latency_metric([1e-3]) == {"value": pytest.approx(1e6)}
    found = latency_metric([1e-3, 2e-3, 3e-3, 4e-3, 5e-3])
    assert [found[name] for name in ("lower_value", "value", "upper_value")] == pytest.approx([2e6, 3e6, 4e6])
    assert metric(1.0, 0.0, None) == {"value": 1.0, "lower_value": 0.0}


def test_a_name_is_kept_short_and_never_switches_alerts_off():
    assert benchmark_name("dense") == "dense"
    assert len(benchmark_name("x" * 2000)) == 1024
    assert not benchmark_name("case-bencher-ignore").endswith("-bencher-ignore")
    assert metrics_of({"a": {}, "b": {"latency": metric(1.0)}}) == {"b": {"latency": {"value": 1.0}}}


def test_a_gate_document_gives_latency_and_ratio_of_valid_cases_alone():
    def row(case, verdict, ratio):
        return {
            "case": case,
            "verdict": verdict,
            "ratio": ratio,
            "lower": ratio and ratio - 0.01,
            "upper": ratio and 1.2,
        }

    def run(case, seconds, **facts):
        return {"case": case, "look": 1, "launch": 0, "first_side": "base", "median_s": {"candidate": seconds}} | facts

    verdicts = [("slow", "SLOW", 1.1), ("wrong", "INVALID", 1.0), ("new", "NEW", None), ("same code", "SAME", None)]
    runs = [run("slow", 1e-3), run("slow", 9.0, disturbance="a neighbour"), run("wrong", 1e-3)]
    verdicts.append(("broken", "WRONG", 0.5))
    runs.append(run("broken", 1e-3))
    runs.append(run("new", 0.0, median_s={}, refusals={"base": "no"}))
    document = {"verdicts": [row(*verdict) for verdict in verdicts], "runs": runs}
    found = bencher_metrics(document)
    assert_is_bmf(found)
    assert found == {
        "slow": {
            "latency": {"value": pytest.approx(1e6)},
            "ratio-to-base": {"value": 1.1, "lower_value": pytest.approx(1.09), "upper_value": 1.2},
        }
    }
    assert bencher_metrics({"mode": "aa", "runs": []}) == {}


def test_compare_writes_the_last_files_cases_and_their_ratio_on_one_device_alone(result, row, tmp_path):
    samples = [1e-3 * (1 + i / 50) for i in range(9)]
    old, new = result("a.json", [row(samples=samples)]), result("b.json", [row(samples=[s / 2 for s in samples])])
    other = result("c.json", [row(samples=samples)], device="Made GPU", slug="made-gpu")
    found = json.loads(CliRunner().invoke(app, ["compare", str(old), str(new), "--format", "bmf"]).stdout)
    assert_is_bmf(found)
    (measures,) = found.values()
    assert measures["latency"]["value"] == pytest.approx(0.54e6)
    assert measures["ratio-to-base"]["value"] == pytest.approx(0.5)
    arguments = ["compare", str(old), str(other), "--format", "bmf", "--out", str(tmp_path / "bmf.json")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    (measures,) = json.loads((tmp_path / "bmf.json").read_text()).values()
    assert measures.keys() == {"latency"}
