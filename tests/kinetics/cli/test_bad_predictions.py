"""What cannot be predicted or judged is one clear line; what can only be guessed at is answered and marked."""

import json
import sys

import pytest

from kinetics.cli.main import main
from tests.support.silicon_rows import SAMPLES

CONFIG = {
    "model_type": "llama", "hidden_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 16,
    "num_key_value_heads": 4, "intermediate_size": 4096, "vocab_size": 32000,
}  # fmt: skip
ON = ("--on", "H200")
MODEL = ("predict", "--model", "Qwen3-8B")


def run(monkeypatch, capsys, *arguments):
    """(exit code, stdout, stderr) of `kinetics`."""
    monkeypatch.setattr(sys, "argv", ["kinetics", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return ended.value.code, out, err


@pytest.fixture
def config(tmp_path):
    """Writes a config.json with these fields changed, and returns its path."""

    def write(**changed):
        fields = {name: value for name, value in {**CONFIG, **changed}.items() if value is not None}
        path = tmp_path / "config.json"
        path.write_text(json.dumps(fields), encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"cross_layer_mixing": 2}, ("cross_layer_mixing", "--ignore-field")),
        ({"num_key_value_heads": 5}, ("num_kv_heads must divide num_q_heads", "num_kv_heads=5")),
        ({"hidden_size": -1}, ("hidden_size", "-1")),
        ({"num_hidden_layers": "four"}, ("num_hidden_layers", "four")),
        ({"intermediate_size": None}, ("intermediate_size",)),
        ({"model_type": "brand_new"}, ("brand_new",)),
    ],
)
def test_a_config_that_is_not_understood_is_refused_by_the_name_of_its_field(
    monkeypatch, capsys, config, changed, words
):
    code, out, err = run(monkeypatch, capsys, "predict", "--model", config(**changed), *ON)
    assert (out, err.count("\n")) == ("", 1)
    assert code in (2, 3)
    assert all(word in err for word in words), err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((*MODEL, "--on", "H2000"), "accelerator must name one row of the table, got 'H2000'; did you mean H20"),
        ((*MODEL, "--on", "NVIDIA H900 80GB"), "accelerator must name one row of the table, got 'NVIDIA H900 80GB'"),
        ((*MODEL, *ON, "--tp", "3"), "the number of devices must divide 32 query heads, got 3"),
        ((*MODEL, *ON, "--page-size", "24"), "--page-size must be left out of a whole step, got 24; add --operation"),
        ((*MODEL, *ON, "--kv-budget", "2k"), "--kv-budget must be left out of a whole step, got 2k; add --operation"),
        (
            (*MODEL, *ON, "--operation", "dense", "--weights", "fp8"),
            "--weights must be left out of a prediction by ceilings alone, got fp8; name devices with --on",
        ),
        ((*MODEL, *ON, "--operation", "dense", "--page-size", "0"), "--page-size must be at least 1, got 0"),
        (
            (*MODEL, *ON, "--operation", "block_topk", "--page-size", "24"),
            "kv_budget must be a multiple of page_size and at least 3 pages, got kv_budget=1024 and page_size=24",
        ),
        (("validate", SAMPLES / "dsa.csv", "--operation", "dsa", "--on", "H2000"), "accelerator must name one row of"),
        (("validate", SAMPLES / "dsa.csv"), "--operation must say what "),
    ],
)
def test_a_wrong_value_is_one_line_and_exit_code_two(monkeypatch, capsys, arguments, line):
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"kinetics: {line}")


@pytest.mark.parametrize(
    ("text", "operation", "line"),
    [
        ("a,b\n1,2\n", "attention", ":1: table must have columns hw, kernel_source, "),
        ("a,b\n1,2\n", "dsa", ":1: table must have columns system, framework, version, kernel_source, "),
        ("", "dsa", ":1: table must have columns system, "),
        ("\0\n", "dsa", ":1: table must have columns system, "),
    ],
)
def test_a_table_with_missing_columns_is_exit_code_three(monkeypatch, capsys, tmp_path, text, operation, line):
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    code, out, err = run(monkeypatch, capsys, "validate", tmp_path / "t.csv", "--operation", operation)
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert err.startswith(f"kinetics: {tmp_path / 't.csv'}{line}")


@pytest.mark.parametrize(
    ("arguments", "code", "marks"),
    [
        ((*MODEL, *ON, "--context", "4096k"), 1, ("DOES NOT FIT: ", "*: extrapolated; ")),
        ((*MODEL, *ON, "--context", "400k"), 0, ("*: extrapolated; ", " ms*")),
        ((*MODEL, "--on", "H100", "--batch", "64"), 1, ("DOES NOT FIT: batch 64 at 32k on 1 x H100", "no/11")),
        ((*MODEL, "--on", "H100", "--batch", "8,64"), 0, ("DOES NOT FIT: batch 64 at 32k on 1 x H100", "yes/11")),
        ((*MODEL, "--on", "H100", "--batch", "64..1k"), 1, ("DOES NOT FIT: 5 of 5 steps; the column `fits`",)),
        (
            (*MODEL, "--on", "TPU v6e"),
            0,
            ("Nothing was measured on TPU v6e: its steps are lower bounds by data sheet",),
        ),
    ],
)
def test_what_was_not_measured_or_does_not_fit_is_answered_and_marked(monkeypatch, capsys, arguments, code, marks):
    found, out, err = run(monkeypatch, capsys, *arguments)
    assert found == code
    assert all(mark in out + err for mark in marks), out + err
