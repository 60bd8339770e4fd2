"""`kinetics generate` makes a log that `kinetics law --traces` prices; what cannot work ends in one line."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kinetics.cli.main import app
from kinetics.engine.step_dtype import DtypeChoice
from kinetics.generate import builtin
from tests.support.stub_server import StubServer
from tests.support.tiny_model import save_problems, save_tiny_model

pytest.importorskip("transformers")
pytest.importorskip("datasets")
SMALL = ["--max-new-tokens", "24", "--batch", "4", "--threads", "1", "--device", "cpu", "--temperature", "1"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def made(model, tmp_path):
    """Run the verb on four made problems; returns (result, document or None)."""
    problems = save_problems(tmp_path / "made.jsonl")

    def run(*options, out="runs"):
        command = ["generate", "--model", str(model), "--problems", str(problems), "--out", str(tmp_path / out)]
        result = CliRunner().invoke(app, [*command, *SMALL, "--json", *map(str, options)])
        return result, json.loads(result.stdout) if result.exit_code == 0 else None

    return run


def samples_of(document):
    lines = Path(document["log"]).read_text().splitlines()[1:]
    return {(r["problem_id"], r["trial"]): (r["token_ids"], r["finish"]) for r in map(json.loads, lines)}


def message_of(result):
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def test_a_run_makes_every_sample_and_the_law_prices_it(made, tmp_path):
    _, dense = made("--trials", 2)
    _, sparse = made("--trials", 2, "--attention", "block_topk", "--kv-budget", 32)
    assert dense["samples"] == dense["generated"] == sparse["generated"] == 8
    assert Path(sparse["log"]).name == "made_tiny_block16_blocktopk2_partial_sink16.jsonl"
    law = CliRunner().invoke(app, ["law", "--traces", str(tmp_path / "runs"), "--json"])
    assert law.exit_code == 0, law.stderr
    table = (tmp_path / "runs" / "law" / "accuracy_per_cost.csv").read_text().splitlines()
    header = table[0].split(",")
    rows = [dict(zip(header, line.split(","), strict=True)) for line in table[1:]]
    assert {row["attention"] for row in rows} == {"dense", "block16_blocktopk2_partial_sink16"}
    for row in rows:
        assert float(row["exact_tera_eflop"]) > 0
        assert float(row["predicted_s"]) > 0
        assert float(row["measured_s"]) > 0
    assert (tmp_path / "runs" / "law" / "accuracy_per_cost.png").stat().st_size > 10_000


def header_of(document):
    return json.loads(Path(document["log"]).read_text().splitlines()[0])


def test_weights_are_multiplied_in_the_dtype_that_was_said_and_a_resumed_run_keeps_it(made, tmp_path):
    _, found = made("--dtype", "bf16", "--questions", 2)
    header, log = header_of(found), Path(found["log"])
    assert (header["engine"]["dtype"], header["engine"]["kv_dtype"]) == ("bfloat16", "float32")
    whole = samples_of(found)
    log.write_text("".join(line + "\n" for line in log.read_text().splitlines()[:2]))
    _, resumed = made("--resume", "--questions", 2)
    assert (resumed["found"], resumed["generated"]) == (1, 1)
    assert samples_of(resumed) == whole
    other, _ = made("--resume", "--questions", 2, "--dtype", "fp32")
    assert "dtype" in message_of(other)
    law = CliRunner().invoke(app, ["law", "--traces", str(tmp_path / "runs"), "--no-figures"])
    assert law.exit_code == 0, law.stderr


def test_without_a_word_the_faster_dtype_is_measured_and_recorded_but_only_for_bfloat16_weights(made, monkeypatch):
    measured = DtypeChoice(dtype="bfloat16", product_s={"float32": 2.0, "bfloat16": 1.0}, products="its products")
    monkeypatch.setattr(builtin, "choose_model_dtype", lambda model, *, num_tokens: measured)
    assert header_of(made(out="small")[1])["engine"]["dtype"] == "float32"
    monkeypatch.setattr(builtin, "SMALL_MODEL_PARAMETERS", 0)
    assert header_of(made(out="stored as float32")[1])["engine"]["dtype"] == "float32"
    monkeypatch.setattr(builtin, "stores_bfloat16", lambda folder: True)
    result, found = made()
    header = header_of(found)
    assert header["engine"]["dtype"] == "bfloat16"
    assert header["machine"]["step_dtype"]["product_s"] == {"float32": 2.0, "bfloat16": 1.0}
    assert message_of(result) == "steps multiply in bfloat16: its products took 2 s in float32, 1 s in bfloat16\n"


SERVED = ("--engine", "openai", "--model", "our-own-model", "--questions", 2)


def test_a_served_model_that_nobody_knows_is_asked_for_before_the_server_is(made, tmp_path):
    pytest.importorskip("openai")
    with StubServer() as stub:
        result, _ = made(*SERVED, "--base-url", stub.url)
        other, _ = made(*SERVED, "--base-url", stub.url, "--architecture", "Qwen9-9B")
    assert (result.exit_code, other.exit_code) == (2, 2)
    assert "got 'our-own-model'; say --architecture SPEC" in message_of(result)
    assert "Qwen9-9B" in message_of(other)
    assert not stub.bodies
    assert not (tmp_path / "runs").exists()


def test_the_law_prices_a_served_model_by_the_architecture_that_was_said(made, tmp_path):
    pytest.importorskip("openai")
    with StubServer() as stub:
        _, found = made(*SERVED, "--base-url", stub.url, "--architecture", "Qwen3-0.6B")
        _, known = made(*SERVED, "--base-url", stub.url, "--model", "Qwen/Qwen3-8B", out="known")
        _, costless = made(*SERVED, "--base-url", stub.url, "--architecture", "none", out="costless")
    specs = [json.loads(Path(log["log"]).read_text().splitlines()[0])["model_spec"] for log in (found, known, costless)]
    assert [spec and (spec["name"], spec["num_layers"]) for spec in specs] == [
        ("our-own-model", 28), ("Qwen3-8B", 36), None,
    ]  # fmt: skip
    law = CliRunner().invoke(app, ["law", "--traces", str(tmp_path / "runs"), "--no-figures"])
    assert law.exit_code == 0, law.stderr


def test_who_asks_for_no_sinks_gets_none_and_is_told_what_that_costs(made):
    result, found = made("--attention", "block_topk", "--kv-budget", 32, "--sink-tokens", 0)
    assert json.loads(Path(found["log"]).read_text().splitlines()[0])["attention"]["num_sink_tokens"] == 0
    assert message_of(result).startswith("--sink-tokens 0: no first keys are kept")
    result, _ = made("--attention", "block_topk", "--kv-budget", 32)
    assert not result.stderr


def test_a_model_without_a_chat_template_is_asked_in_plain_text_and_that_is_said(made, tmp_path):
    base = save_tiny_model(tmp_path / "base", has_chat_template=False)
    result, _ = made("--model", base, "--questions", 1)
    assert message_of(result).startswith("base has no chat template: it was given the instruction and the problem")
    result, _ = made("--model", base, "--questions", 1, "--prompt", "plain", out="plain")
    assert not result.stderr


def test_the_header_says_what_was_used_and_positional_files_read_it_too(made, model, tmp_path):
    _, found = made("--trials", 2, "--dense-layers", 1, "--attention", "block_topk", "--kv-budget", 32)
    header = json.loads(Path(found["log"]).read_text().splitlines()[0])
    assert header["model_spec"]["num_layers"] == 2
    assert header["engine"] == {
        "name": "builtin",
        "device_kind": "cpu",
        "dtype": "float32",
        "batch": 4,
        "page_size": 16,
        "num_splits": 1,
        "num_threads": 1,
    }
    assert header["attention"]["num_dense_layers"] == 1
    assert header["sampling"] == {"temperature": 1.0, "top_p": 0.95, "top_k": 20}
    law = CliRunner().invoke(app, ["law", found["log"], "--out", str(tmp_path / "tables"), "--no-figures"])
    assert law.exit_code == 0, law.stderr
    assert "charge them with --dense-layers 1" in law.stderr


def test_resume_makes_exactly_what_is_missing_and_the_same(made):
    _, whole = made("--trials", 3)
    path = Path(whole["log"])
    expected, lines = samples_of(whole), path.read_text().splitlines(keepends=True)
    # Nine are left for four rows: what runs beside a sample is not what ran beside it before.
    path.write_text("".join(lines[:4]) + lines[4][:40])
    result, resumed = made("--trials", 3, "--resume")
    assert (resumed["found"], resumed["generated"]) == (3, 9)
    assert samples_of(resumed) == expected
    assert "a last line that was cut after 40 bytes is in" in result.stderr
    _, nothing = made("--trials", 3, "--resume")
    assert (nothing["found"], nothing["generated"]) == (12, 0)


def test_another_batch_of_rows_changes_no_sample(made):
    """Seeds belong to trials: what runs beside a sample, and in which order, does not matter to it."""
    _, four = made("--trials", 3)
    _, one = made("--trials", 3, "--questions", 2, out="other")
    assert samples_of(one).items() <= samples_of(four).items()


def test_a_log_is_not_overwritten_and_settings_must_match(made):
    made()
    result, _ = made()
    assert result.exit_code == 2
    assert "must not exist yet" in message_of(result)
    for options, field in (
        (["--seed", 1], "seed must be 0, got 1"),
        (["--top-p", 0.9], "sampling.top_p must be 0.95, got 0.9"),
        (["--trials", 2], "trials must be 1, got 2"),
        (["--batch", 8], "engine.batch must be 4, got 8"),
        (["--questions", 3], "problems.count must be 4, got 3"),
    ):
        result, _ = made("--resume", *options)
        assert result.exit_code == 2
        assert field in message_of(result)


def test_other_weights_and_another_chat_template_are_not_resumed(made, model, tmp_path):
    made()
    other = tmp_path / model.name
    shutil.copytree(model, other)
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-7] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    result, _ = made("--resume", "--model", other)
    assert "weights_sample_sha256 must be" in message_of(result)
    shutil.copytree(model, other, dirs_exist_ok=True)
    config = (other / "tokenizer_config.json").read_text()
    (other / "tokenizer_config.json").write_text(config.replace("user", "u").replace("assistant", "helper"))
    assert made("--resume", "--model", model)[1]["generated"] == 0
    result, _ = made("--resume", "--model", other)
    assert "prompt_token_ids_sha256 must be" in message_of(result)


def test_pages_scored_by_bounds_are_another_log(made):
    sparse = ["--attention", "block_topk", "--kv-budget", 32]
    _, mean = made(*sparse)
    _, bound = made(*sparse, "--summary", "min_max")
    assert (
        Path(bound["log"]).name == "made_tiny_block16_blocktopk2_minmax_partial_sink16.jsonl" != Path(mean["log"]).name
    )
    header = json.loads(Path(bound["log"]).read_text().splitlines()[0])
    assert header["attention"]["summary"] == "min_max"
    result, _ = made("--summary", "min_max")
    assert "--summary means nothing to dense attention, got min_max" in message_of(result)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "aime24"], "one of --dataset and --problems must be given, got both or none"),
        (["--questions", 9], "--questions must be at most the 4 there are, got 9"),
        (["--attention", "block_topk", "--kv-budget", 40], "--kv-budget must be a multiple of --page-size"),
        (["--attention", "block_topk"], "more than --local, got 0"),
        (["--attention", "local"], "--local must be given for local attention, got none"),
        (["--max-new-tokens", 100_000], "must fit the model's 1024 tokens, got .* lower --max-new-tokens"),
        (["--temperature", -1], "--temperature must be a number of at least 0"),
        (["--trials", 0], "--trials must be at least 1, got 0"),
        (["--page-size", 0], "--page-size must be at least 1, got 0"),
        (["--sink-tokens", -16], "--sink-tokens must be at least 0, got -16"),
        (["--threads", -1], "--threads must be at least 0, got -1"),
        (["--timeout", "nan"], "--timeout must be a number above 0, got 'nan'"),
        (["--model", "nobody/nothing"], "neither a folder nor a hub id"),
        (["--base-url", "http://localhost:1/v1"], "add --engine openai"),
        (["--engine", "openai"], "say --base-url"),
        (["--dtype", "fp8"], "--dtype on cpu must be one of float32, bfloat16, got 'fp8'"),
        (["--engine", "openai", "--base-url", "http://localhost:1/v1", "--dtype", "bf16"], "--dtype is the built-in"),
        (["--architecture", "Qwen3-8B"], "--architecture means nothing to the built-in engine"),
        (["--engine", "openai", "--base-url", "http://localhost:1/v1", "--workers", 2], "are the built-in engine's"),
    ],
)
def test_what_cannot_work_ends_in_one_line_before_anything_is_made(made, tmp_path, options, message, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result, _ = made(*options)
    assert result.exit_code == 2
    assert re.search(message, message_of(result))
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_two_ray_workers_make_the_samples_that_one_engine_makes(made):
    pytest.importorskip("ray", reason="ray is not installed; pip install ray")
    _, alone = made("--trials", 2)
    _, spread = made("--trials", 2, "--workers", 2, out="spread")
    assert samples_of(spread) == samples_of(alone)


def test_a_run_leaves_as_many_threads_as_it_found(made):
    """Whatever is measured after it in the same process would else be measured on the engine's threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        made()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
