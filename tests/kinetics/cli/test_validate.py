"""`kinetics validate` as people type it: tables and JSON, and exit codes that say how far off predictions are."""

import json
import os
import sys
from pathlib import Path

import pytest

from kinetics.cli.main import main
from kinetics.prediction import silicon_package, silicon_terms
from kinetics.specs.distribution import install_command
from tests.support.silicon_rows import SAMPLES

REFERENCE = os.environ.get("KINETICS_REFERENCE_DATA")
DSA = (str(SAMPLES / "dsa.csv"), "--operation", "dsa")


def run(monkeypatch, capsys, *arguments):
    """(exit code, stdout, stderr) of `kinetics validate`."""
    monkeypatch.setattr(sys, "argv", ["kinetics", "validate", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return ended.value.code, out, err


@pytest.mark.parametrize("split", ["alternate", "beyond", "shipped", "device"])
def test_a_table_says_how_far_off_predictions_were(monkeypatch, capsys, split):
    code, out, err = run(monkeypatch, capsys, *DSA, "--split", split)
    assert (code, err) == (0, "")
    assert "FLASHMLA_SPARSE vllm" in out
    assert "{" not in out
    assert max(len(line) for line in out.splitlines()) <= 80


def test_raw_values_are_one_document(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, *DSA, "--json")
    found = json.loads(out)
    (kernel,) = found["by_kernel"]
    assert (code, found["cases"], kernel["device"], kernel["fitted_on"]) == (0, 55, "H200 SXM 141GB", "every other row")
    assert 0 < found["median_abs_error"] < 0.06 < kernel["roofline_median_abs_error"]


def test_a_wrong_exponent_is_exit_code_one(monkeypatch, capsys):
    attention = (str(SAMPLES / "attention.csv"), "--operation", "attention", "--max-median", "0.05")
    assert run(monkeypatch, capsys, *attention)[0] == 0
    right = silicon_terms.TERMS["attention"]
    monkeypatch.setitem(
        silicon_terms.TERMS, "attention", lambda shape, *rest: right({**shape, "keys": shape["keys"] ** 0.7}, *rest)
    )
    code, _, err = run(monkeypatch, capsys, *attention)
    assert code == 1
    assert err.startswith("TOO FAR OFF: attention: the median error is ")


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ((*DSA, "--on", "B200"), 2, "--on and --framework must leave rows of the file, got none"),
        ((*DSA, "--on", "H2000"), 2, "accelerator must name one row of the table, got 'H2000'; did you mean H20"),
        ((*DSA, "--max-median", "-1"), 2, "--max-median must be a number above 0 and at most 10, got '-1'"),
        ((*DSA, "--workers", "0"), 2, "--workers must be at least 1, got 0"),
        ((*DSA, "--split", "version"), 2, "--split version must leave rows to judge, got none"),
        ((*DSA, "--all"), 2, "--all judges the installed tables, got a file as well; leave one out"),
        ((DSA[0],), 2, "--operation must say what "),
        ((DSA[0], "--operation", "msa,dsa"), 2, "operation must be one of attention, "),
        ((str(SAMPLES / "none.csv"), "--operation", "dsa"), 3, f"{SAMPLES / 'none.csv'}: cannot be read"),
        ((str(SAMPLES / "dsa.csv"), "--operation", "kda"), 3, f"{SAMPLES / 'dsa.csv'}:1: table must have columns"),
        (("--operation", "conv"), 2, "operation must be one of attention, "),
    ],
)
def test_a_wrong_value_is_one_line(monkeypatch, capsys, arguments, code, line):
    found, out, err = run(monkeypatch, capsys, *arguments)
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert err.startswith(f"kinetics: {line}")


def test_without_tables_or_a_file_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(silicon_package, "systems_folder", lambda: None)
    code, out, err = run(monkeypatch, capsys, "--operation", "dsa")
    assert (code, out) == (2, "")
    needed = "kinetics: validate must have a FILE or the tables of aiconfigurator-core, got neither; "
    assert err == f"{needed}{install_command('silicon')}\n"


def test_installed_tables_are_judged_device_by_device(monkeypatch, capsys):
    pytest.importorskip("pyarrow")
    if silicon_package.systems_folder() is None:
        pytest.skip("aiconfigurator-core is not installed: its tables are judged")
    arguments = ("--operation", "all_reduce", "--on", "h100_sxm", "--framework", "vllm", "--workers", "1")
    code, out, err = run(monkeypatch, capsys, *arguments, "--max-median", "0.12")
    assert (code, err) == (0, "all_reduce on h100_sxm: 1 kernels judged\n")
    assert "vLLM_custom_graph" in out


@pytest.mark.skipif(
    REFERENCE is None, reason="KINETICS_REFERENCE_DATA is not set: it holds published_decode_latency.csv"
)
def test_published_latencies_are_predicted_within_the_promised_errors(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, str(Path(REFERENCE or ".") / "published_decode_latency.csv"), "--json")
    found = json.loads(out)
    assert code == 0
    assert found["median_abs_error"] <= 0.055
    assert found["p90_abs_error"] <= 0.17
    assert len(found["by_kernel"]) == 12
    assert max(k["median_abs_error"] for k in found["by_kernel"] if k["kernel"] != "torch_flow") <= 0.06
