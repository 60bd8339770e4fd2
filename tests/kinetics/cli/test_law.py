"""The verbs of the law as people run them: one JSON document, one line on errors, the right exit code."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kinetics.cli.main import app
from tests.support.paths import ROOT

RUNNER = CliRunner()
REFERENCE = os.environ.get("KINETICS_REFERENCE_DATA")
GOOD = {"query": "q", "choices": ["5"], "prediction": ["so \\boxed{5}"], "score": 1}


def run(*args, stdin=None):
    return RUNNER.invoke(app, [str(arg) for arg in args], input=stdin)


def run_json(*args, exit_code=0, stdin=None):
    result = run(*args, "--json", stdin=stdin)
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


def fails_in_one_line(result, exit_code):
    assert result.exit_code == exit_code
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_exact_cost_of_a_reference_row():
    found = run_json(
        "cost",
        "--model",
        "Qwen3-0.6B",
        "--attention",
        "topk",
        "--kv-budget",
        128,
        "--prompt-len",
        200,
        "--generated",
        30767,
        "--trials",
        32,
        "--params-billion",
        0.752,
    )
    assert found["memory_bytes"] == 14453168930816
    assert found["compute_tflop"] == pytest.approx(1509.660513861632, rel=1e-14)
    assert found["memory_tera_eflop"] == pytest.approx(8129.907523584, rel=1e-14)
    assert found["total_tera_eflop"] == found["compute_tflop"] + found["memory_tera_eflop"]


def test_the_memory_that_answers_need_is_stated():
    found = run_json("cost", "--model", "Qwen3-32B", "--context", 0, "--generated", 16384)
    assert found["kv_cache_bytes"] == 16384 * 262_144
    assert found["answers_that_fit_one_b200"] == (180 * 10**9 - 2 * 32_762_123_264) // (16384 * 262_144)


def test_the_old_name_of_the_prompt_length_still_counts_and_is_not_shown():
    new = run_json("cost", "--model", "Qwen3-8B", "--prompt-len", 777)
    assert run_json("cost", "--model", "Qwen3-8B", "--context", 777) == new
    assert new["context"] == 777
    assert "--context" not in run("cost", "--help").output


def test_published_cost_of_a_reference_row():
    found = run_json(
        "cost",
        "--model",
        "qwen3_0.6b",
        "--mode",
        "paper",
        "--attention",
        "block_topk",
        "--block-size",
        32,
        "--top-blocks",
        16,
        "--kv-budget",
        512,
        "--context",
        200,
        "--generated",
        30767,
        "--trials",
        32,
    )
    assert found["compute_tflop"] == pytest.approx(1650.955606884352, rel=1e-12)
    assert found["memory_tera_eflop"] == pytest.approx(47692.005403391995, rel=1e-12)


def test_every_choice_stands_beside_the_numbers():
    found = run_json(
        "cost",
        "--model",
        "Qwen3-8B",
        "--attention",
        "local",
        "--local",
        64,
        "--sink-tokens",
        4,
        "--dense-layers",
        1,
        "--batch",
        8,
        "--prefill",
        "--combine",
        "max",
        "--intensity",
        100,
    )
    expected = {
        "attention": "local64_sink4_dense1", "sink_tokens": 4, "dense_layers": 1, "batch": 8, "prefill": True,
        "combine": "max", "intensity_flop_per_byte": 100.0, "mode": "exact", "num_parameters": 7568097280,
    }  # fmt: skip
    assert found | expected == found
    assert found["total_tera_eflop"] == max(found["compute_tflop"], found["memory_tera_eflop"])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--model", "x"], "model must be a known one or a config.json, got 'x'"),
        (["--model", "Qwen3-8B", "--attention", "topk"], "--kv-budget must be given for topk attention, got none"),
        (["--model", "Qwen3-8B", "--kv-budget", 8], "--kv-budget means nothing to dense attention, got 8"),
        (
            ["--model", "Qwen3-8B", "--attention", "block_topk", "--block-size", 8],
            "--top-blocks or --kv-budget must be",
        ),
        (["--model", "Qwen3-8B", "--attention", "block_topk", "--block-size", 8, "--kv-budget", 12], "drop one"),
        (["--model", "Qwen3-8B", "--mode", "paper", "--batch", 4], "paper mode has no --batch"),
        (["--model", "Qwen3-30B-A3B", "--mode", "paper"], "must be in the paper's parameter table"),
        (["--model", "Qwen3-8B", "--trials", 0], "trials must be at least 1, got 0"),
        (["--model", "Qwen3-8B", "--mode", "paper", "--generated", -1], "must be at least 0"),
        (["--model", "Qwen3-8B", "--dense-layers", 99], "must not exceed the 36 layers"),
        (["--model", "Qwen3-8B", "--intensity", "nan"], "--intensity must be a number of at least 0, got 'nan'"),
    ],
)
def test_a_cost_that_makes_no_sense_is_one_line(args, message):
    assert message in fails_in_one_line(run("cost", *args), 2)


def test_an_unknown_choice_is_a_usage_error():
    assert run("cost", "--model", "Qwen3-8B", "--attention", "sparse").exit_code == 2


def test_coverage():
    assert run_json("coverage", "--samples", 10, "--correct", 3, "--trials", 2)["coverage"] == pytest.approx(8 / 15)
    message = fails_in_one_line(run("coverage", "--samples", 10, "--correct", 3, "--trials", 11), 2)
    assert "got 11 trials of 10 samples" in message


def test_an_answer_on_stdin_is_graded():
    found = run_json("grade", "--gold", "025", stdin="so \\boxed{25}")
    assert (found["correct"], found["answer"]) == (True, "25")
    pytest.importorskip("math_verify", reason="math-verify is not installed (extra: law)")
    lenient = run_json("grade", "--gold", "204", "--grader", "paper", stdin="the answer is 204")
    assert lenient["correct"] is True


def test_grading_without_gold_or_with_a_bad_one_is_one_line():
    assert "--gold must be given" in fails_in_one_line(run("grade", stdin="x"), 2)
    assert "integer from 0 to 999, got '12x'" in fails_in_one_line(run("grade", "--gold", "12x", stdin="x"), 2)


def test_bytes_that_are_no_text_are_graded_wrong_not_fatal():
    assert run_json("grade", "--gold", "5", stdin=b"\xff\xfe \\boxed{5")["correct"] is False


def test_a_file_is_graded_and_disagreements_listed(tmp_path):
    pytest.importorskip("math_verify", reason="math-verify is not installed (extra: law)")
    path = tmp_path / "aime24_qwen3-8b_dense.jsonl"
    lines = [GOOD, GOOD | {"prediction": ["the answer is 5"]}, GOOD | {"prediction": ["\\boxed{6}"], "score": 0}]
    path.write_text("\n".join(json.dumps(line) for line in lines))
    found = run_json("grade", path, "--grader", "paper")
    assert (found["answers"], found["strict_correct"], found["paper_correct"]) == (3, 1, 2)
    assert (found["strict_differs_from_recorded"], found["paper_differs_from_recorded"]) == (1, 0)
    assert [(d["line"], d["correct_by"]) for d in found["disagreements"]] == [(2, "paper")]


def test_a_broken_file_exits_3_and_keep_going_exits_1(tmp_path):
    path = tmp_path / "aime24_qwen3-8b_dense.jsonl"
    path.write_text(json.dumps(GOOD) + "\n{\x1b[31moops\n")
    message = fails_in_one_line(run("grade", path), 3)
    assert f"{path}:2: line must be JSON" in message
    found = run_json("grade", path, "--keep-going", exit_code=1)
    assert found["answers"] == 1
    assert len(found["left_out"]) == 1


def test_the_default_law_writes_tables_and_figures(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: report)")
    found = run_json("law", "--out", tmp_path)
    assert {Path(name).suffix for name in found["files"]} == {".csv", ".md", ".png", ".svg"}
    assert all(Path(name).stat().st_size > 100 for name in found["files"])
    assert sorted(Path(name).name for name in found["files"]) == sorted(path.name for path in tmp_path.iterdir())
    assert len(found["claims"]) > 50


def test_regenerated_tables_equal_the_recorded_ones(tmp_path):
    run_json("law", "--out", tmp_path, "--no-figures")
    recorded = ROOT / "results" / "tables"
    for path in tmp_path.iterdir():
        assert path.read_text() == (recorded / path.name).read_text(), path.name


def write_table(path, model="Qwen3-8B"):
    header = "model,dataset,question_id,trial,generated_length,length_unit,answer,gold,correct"
    rows = [f"{model},aime24,q{q},{t},{1000 + 500 * t},tokens,5,5,{(q + t) % 2}" for q in range(3) for t in range(4)]
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    "options", [[], ["--on", "H200"], ["--mode", "paper"], ["--batch", 64, "--dense-layers", 1], ["--longest"]]
)
def test_the_law_from_a_sample_table_under_every_pricing(tmp_path, options):
    found = run_json("law", write_table(tmp_path / "t.csv"), "--out", tmp_path / "out", "--no-figures", *options)
    assert [task["task"] for task in found["tasks"]][:2] == ["long_cot", "long_cot_flops"]
    assert found["tasks"][0]["curves"][0]["accuracy"][-1] == pytest.approx(0.5)
    assert (tmp_path / "out" / "accuracy.md").read_text().count("Qwen3-8B") == 1


def test_the_law_in_seconds_measured_on_a_device(tmp_path):
    rate, bandwidth = 5e13, 2e11
    rows = [
        {
            "extra_info": {
                "operation": operation,
                "provider": "ours",
                "cache_state": "cold",
                "dtype": "float32",
                "batch": 8,
                "minimum_bytes": num_bytes,
                "median_s": 2e-5 + num_bytes / (0.5 * bandwidth),
            }
        }
        for operation in ("dense", "block_topk")
        for num_bytes in (10**6, 10**7, 10**8)
    ]
    machine = {"device": "test device", "ceilings": {"read_bytes_per_s": bandwidth, "matmul_flop_per_s": rate}}
    result = tmp_path / "result.json"
    result.write_text(json.dumps({"schema": 1, "machine_info": machine, "benchmarks": rows}))
    out = ["--out", tmp_path / "out", "--no-figures"]
    found = run_json("law", write_table(tmp_path / "t.csv"), "--measured", result, *out)
    assert found["device"] == "test device, measured"
    assert found["tera_eflop_per_s"] == 50.0
    result.write_text(json.dumps({"schema": 1, "machine_info": machine, "benchmarks": rows[:3]}))
    failed = run("law", write_table(tmp_path / "t.csv"), "--measured", result, *out)
    assert "must have cold block_topk rows of provider ours" in fails_in_one_line(failed, 3)


def test_a_model_without_architecture_needs_one_or_is_left_out(tmp_path):
    table = write_table(tmp_path / "t.csv", model="Mystery-9B")
    out = ["--out", tmp_path / "out", "--no-figures"]
    assert "--architecture Mystery-9B=SPEC" in fails_in_one_line(run("law", table, *out), 2)
    given = run_json("law", table, "--architecture", "Mystery-9B=Qwen3-8B", *out)
    assert given["tasks"][0]["curves"][0]["model"] == "Mystery-9B"
    table.write_text(table.read_text() + write_table(tmp_path / "u.csv").read_text().split("\n", 1)[1])
    kept = run_json("law", table, "--keep-going", *out, exit_code=1)
    assert kept["left_out"] == ["Mystery-9B: architecture unknown, no costs"]
    assert "Mystery-9B" in (tmp_path / "out" / "accuracy.csv").read_text()


def test_names_from_outside_cannot_break_figures_or_markdown(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: report)")
    name = "<b>$\\frac{|"
    table = write_table(tmp_path / "$x.csv", model=name)
    found = run_json("law", table, "--architecture", f"{name}=Qwen3-8B", "--out", tmp_path / "out")
    assert any(path.endswith(".svg") for path in found["files"])
    assert "&lt;b&gt;" in (tmp_path / "out" / "accuracy.md").read_text()
    assert "<b>" not in (tmp_path / "out" / "accuracy.md").read_text()


def test_a_config_file_makes_an_architecture(tmp_path):
    config = {
        "model_type": "qwen3", "num_hidden_layers": 36, "hidden_size": 4096, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 12288, "vocab_size": 151936,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    out = ["--out", tmp_path / "out", "--no-figures"]
    table = write_table(tmp_path / "t.csv", model="Mystery-9B")
    by_config = run_json("law", table, "--architecture", f"Mystery-9B={tmp_path / 'config.json'}", *out)
    by_name = run_json("law", table, "--architecture", "Mystery-9B=Qwen3-8B", *out)
    assert by_config["tasks"] == by_name["tasks"]
    (tmp_path / "config.json").write_text("{")
    failed = run("law", table, "--architecture", f"Mystery-9B={tmp_path / 'config.json'}", *out)
    assert "config.json: must be a JSON object" in fails_in_one_line(failed, 3)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--on", "H200"], "--on needs samples, got none"),
        (["--mode", "paper"], "--mode paper needs samples, got none"),
        (["t.csv", "--on", "H900"], "accelerator must name one row"),
        (["t.csv", "--on", "H200", "--mode", "paper"], "exclude one another"),
        (["t.csv", "--grade-cuts"], "--grade-cuts needs --tokenizer"),
        (["t.csv", "--architecture", "x"], "--architecture must read NAME=SPEC"),
    ],
)
def test_law_options_that_do_not_fit_are_one_line(tmp_path, args, message):
    table = write_table(tmp_path / "t.csv")
    result = run("law", *[table if arg == "t.csv" else arg for arg in args], "--out", tmp_path / "out", "--no-figures")
    assert message in fails_in_one_line(result, 2)
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    assert "output folder" in fails_in_one_line(run("law", "--out", tmp_path / "file" / "x", "--no-figures"), 3)


def test_files_with_other_questions_or_the_same_samples_are_named(tmp_path):
    names = ["aime24_qwen3-8b_dense.jsonl", "aime24_qwen3-4b_dense.jsonl", "aime24_qwen3-8b_dense_2.jsonl"]
    for name, query in zip(names, "aba", strict=True):
        (tmp_path / name).write_text("\n".join(json.dumps(GOOD | {"query": query}) for _ in range(2)))
    options = ["--tokenizer", "words", "--out", tmp_path / "out", "--no-figures"]
    first, other, again = (tmp_path / name for name in names)
    message = fails_in_one_line(run("law", first, other, *options), 3)
    assert f"{other}: samples must be of the questions of {first}, got 2 others" in message
    message = fails_in_one_line(run("law", first, again, *options), 3)
    assert f"{again}: samples must be there once, got Qwen3-8B dense in {first} too" in message
    assert not (tmp_path / "out").exists()
    found = run_json("law", first, other, again, "--keep-going", *options, exit_code=1)
    assert len(found["left_out"]) == 2


@pytest.mark.skipif(
    REFERENCE is None, reason="KINETICS_REFERENCE_DATA is not set: it holds published_decode_latency.csv"
)
def test_validate_prints_errors_by_kernel():
    found = run_json("validate", Path(REFERENCE or ".") / "published_decode_latency.csv")
    assert found["median_abs_error"] <= 0.08
    assert len({one["kernel"] for one in found["by_kernel"]}) == 4
    assert len(found["by_kernel"]) == 4 * len({one["variant"] for one in found["by_kernel"]})


def test_validate_names_a_bad_file(tmp_path):
    assert "cannot be read" in fails_in_one_line(run("validate", tmp_path / "none.csv"), 3)
