"""`kinetics predict` as a buyer types it: what it prints, what it refuses, what it exits with."""

import csv
import json
import sys

import pytest

from kinetics.cli.main import main

FITTING = ("--model", "Qwen3-8B", "--on", "H200,B200", "--batch", "1,16", "--context", "4k..16k")


def run(monkeypatch, capsys, *arguments):
    """(exit code, stdout, stderr) of `kinetics predict`."""
    monkeypatch.setattr(sys, "argv", ["kinetics", "predict", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def document(monkeypatch, capsys, *arguments):
    code, out, _ = run(monkeypatch, capsys, *arguments, "--json")
    return code, json.loads(out)["steps"]


def test_every_combination_is_one_row_with_parts_that_add_up(monkeypatch, capsys):
    code, steps = document(monkeypatch, capsys, *FITTING)
    assert code == 0
    assert len(steps) == 2 * 2 * 3
    for step in steps:
        assert step["step_s"] == pytest.approx(sum(part["total_s"] for part in step["parts"]))
        assert step["low_s"] < step["step_s"] < step["high_s"]
        assert {part["source"] for part in step["parts"]} <= {"fit", "small kernels", "fit of sglang", "fit of trtllm"}


def test_a_model_with_sparse_attention_of_its_own_is_shown_dense_as_well(monkeypatch, capsys):
    _, steps = document(
        monkeypatch, capsys, "--model", "deepseek-ai/DeepSeek-V3.2", "--on", "H200", "--tp", "8", "--kv-dtype", "fp8"
    )
    assert [step["attention"] for step in steps] == ["own", "dense"]


def test_what_does_not_fit_is_said_first_with_a_remedy_and_an_exit_code(monkeypatch, capsys):
    arguments = ("--model", "Qwen3-8B", "--on", "H100", "--batch", "64", "--context", "32k")
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert code == 1
    assert err.startswith("DOES NOT FIT: batch 64 at 32k on 1 x H100 SXM5 80GB (own attention): needs ")
    assert err.endswith("batch 11 fits\n")
    assert "no/11" in out
    code, steps = document(monkeypatch, capsys, *arguments)
    assert (code, steps[0]["fits"]) == (1, False)
    batch = str(steps[0]["largest_batch"])
    assert run(monkeypatch, capsys, *arguments[:4], "--batch", batch, "--context", "32k")[0] == 0
    assert run(monkeypatch, capsys, *arguments[:4], "--batch", str(int(batch) + 1), "--context", "32k")[0] == 1


def test_weights_that_do_not_fit_one_device_are_sent_to_several(monkeypatch, capsys):
    code, steps = document(monkeypatch, capsys, "--model", "Llama-3.1-70B", "--on", "H100", "--context", "4k")
    assert (code, steps[0]["largest_batch"], steps[0]["remedy"]) == (1, 0, "--tp 2 fits")
    code, _ = document(monkeypatch, capsys, "--model", "Llama-3.1-70B", "--on", "H100", "--context", "4k", "--tp", "2")
    assert code == 0


def test_prices_become_dollars_per_token_and_per_right_answer_and_sort(monkeypatch, capsys):
    prices = ("--dollars-per-hour", "H200=3.6,B200=7.2", "--tokens-per-answer", "10000", "--accuracy", "0.5")
    _, steps = document(monkeypatch, capsys, *FITTING, *prices, "--sort", "price")
    costs = [step["dollars_per_million_tokens"] for step in steps]
    assert costs == sorted(costs)
    first = next(step for step in steps if step["device"].startswith("H200"))
    assert first["dollars_per_million_tokens"] == pytest.approx(1e6 * 3.6 / 3600 / first["tokens_per_s"])
    assert first["dollars_per_right_answer"] == pytest.approx(0.02 * first["dollars_per_million_tokens"])
    _, steps = document(monkeypatch, capsys, *FITTING, "--sort", "tokens")
    assert [s["tokens_per_s"] for s in steps] == sorted((s["tokens_per_s"] for s in steps), reverse=True)


def test_rows_become_a_csv_and_a_figure(monkeypatch, capsys, tmp_path):
    pytest.importorskip("matplotlib")
    table, figure = tmp_path / "steps.csv", tmp_path / "steps.png"
    code, out, _ = run(monkeypatch, capsys, *FITTING, "--csv", str(table), "--figure", str(figure))
    assert code == 0
    with table.open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 12
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert out.startswith("Qwen3-8B: tp 1, attention own\n")
    assert max(len(line) for line in out.splitlines()[:16]) <= 80


def test_a_device_without_measurements_and_ignored_fields_are_said_aloud(monkeypatch, capsys, tmp_path):
    config = {
        "model_type": "llama", "hidden_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 16,
        "num_key_value_heads": 4, "intermediate_size": 4096, "vocab_size": 32000, "cross_layer_mixing": 2,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = ("--model", str(tmp_path / "config.json"))
    code, _, err = run(monkeypatch, capsys, *model, "--on", "H200")
    assert (code, err.count("\n")) == (2, 1)
    assert "cross_layer_mixing" in err
    code, out, _ = run(monkeypatch, capsys, *model, "--on", "MI300X", "--ignore-field", "cross_layer_mixing")
    assert code == 0
    assert "Counted without cross_layer_mixing, as asked" in out
    assert "Nothing was measured on MI300X: its steps are lower bounds by data sheet." in out


def test_a_context_beyond_every_measurement_is_answered_and_marked(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "--model", "Qwen3-0.6B", "--on", "H200", "--context", "512k")
    assert code == 0
    assert "*: extrapolated; " in out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--on", "H2000"), "accelerator must name one row of the table, got 'H2000'; did you mean H20"),
        (
            ("--on", "H200", "--model", "Qwen4-8B"),
            "model must be a known one or a config.json, got 'Qwen4-8B'; did you",
        ),
        (("--on", "H200", "--tp", "3"), "the number of devices must divide 32 query heads, got 3"),
        (("--on", "H200", "--framework", "tgi"), "framework must be one of vllm, sglang, trtllm, got 'tgi'"),
        (("--on", "H200", "--context", "0"), "a count must be a positive integer such as 1024 or 32k, got '0'"),
        (("--on", "H200", "--context", "8k..4k"), "a range of counts must not run backwards, got '8k..4k'"),
        (("--on", "H200", "--kv-dtype", "fp2"), "a cache format must be one of bf16, "),
        (("--on", "H200", "--weights", "fp2"), "a weight format must be one of bf16, "),
        (("--on", "H200", "--attention", "magic"), ""),
        (("--on", "H200", "--dollars-per-hour", "-3"), "--dollars-per-hour must be a number above 0, got '-3'"),
        (("--on", "H200", "--dollars-per-hour", "B200=3"), "--dollars-per-hour must price devices of --on, got 'B200'"),
        (("--on", "H200", "--sort", "price"), "--sort price needs --dollars-per-hour of every device"),
        (("--on", "H200", "--accuracy", "0.5"), "--tokens-per-answer, --accuracy and --dollars-per-hour must be given"),
        (("--on", ","), "--on must name something, got ','"),
        (("--on", "H200", "--model", "DeepSeek-V3", "--attention", "local512", "--tp", "8"), "a sparse policy must be"),
    ],
)
def test_a_wrong_value_is_one_line_and_exit_code_two(monkeypatch, capsys, arguments, line):
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"kinetics: {line}")


def test_a_table_that_cannot_be_written_is_one_line_and_exit_code_three(monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "--on", "H200", "--csv", "/dev/null/x.csv")
    assert (code, out) == (3, "")
    assert err.startswith("kinetics: file /dev/null/x.csv cannot be written")
