"""Whatever a stranger's file holds, a reader gives what it says or one line why not: no traceback, no hang.

Every reader of traces, logs, problems, tables, results, configs and weights is fed valid files in which one thing was
made hostile.
"""

from __future__ import annotations

import json
import shutil
import struct
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinetics.files.lines import DataFileError
from kinetics.gate.gate_file import read_gate_file
from kinetics.law.logs import Log, cost_models_of_logs, tabulate_logs
from kinetics.law.measured_costs import read_measured_device
from kinetics.results.journal import JOURNAL_SUFFIX
from kinetics.results.reader import read_result_files
from kinetics.results.recovery import recover_journals
from kinetics.samples.grading import grade_strict
from kinetics.samples.log_reader import read_trace_answers, read_trace_file
from kinetics.samples.log_writer import SampleLog
from kinetics.samples.problems import read_problems
from kinetics.samples.sample_tables import COLUMNS, read_sample_table
from kinetics.samples.tokenizers import WordTokenizer
from kinetics.samples.trace_answers import TraceRules
from kinetics.specs.model_config import read_config_file
from kinetics.specs.models import find_model
from tests.support.foreign_samples import PROBLEMS as FOREIGN_PROBLEMS
from tests.support.foreign_samples import RIGHT, WRONG, batch, bench, completion, flat_lighteval, lighteval, lm_eval
from tests.support.hostile_json import hostile_lines
from tests.support.paths import ROOT
from tests.support.result_rows import make_document, make_row

LIMIT_S = 5.0
FUZZED = settings(
    max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
STRICT = TraceRules(tokenizer=WordTokenizer(), grader=grade_strict, cut_budgets=(2,))
RECORDED = TraceRules(tokenizer=None, grader=None)
KEEPS_GOING = TraceRules(tokenizer=None, grader=None, keeps_going=True)

ANSWER = {"query": "q?", "choices": ["25"], "prediction": ["so \\boxed{25}"], "score": 100.0}
TRACE = [{"task": "aime24", "attn_local": 0, "attn_topk": 64, "attn_layer_skip": [0]}, ANSWER, ANSWER | {"score": 0.0}]
CEILINGS = {
    "read_bytes_per_s": 1e11, "cached_read_bytes_per_s": 2e11, "copy_bytes_per_s": 1e11, "matmul_flop_per_s": 1e12,
    "launch_s": 1e-5, "cache_bytes": 2**25,
}  # fmt: skip
HEADER = {
    "kinetics_log": 1, "task": "made", "model": "Qwen3-0.6B", "model_spec": asdict(find_model("Qwen3-0.6B")),
    "attention": {
        "kind": "block_topk", "block_size": 16, "top_blocks": 2, "num_local": 16, "num_sink_tokens": 0,
        "keeps_partial_block": True, "summary": "mean", "num_dense_layers": 1,
    },
    "max_new_tokens": 9, "engine": {"name": "builtin", "batch": 4, "page_size": 16, "dtype": "float32"},
    "machine": {"ceilings": CEILINGS},
}  # fmt: skip
SAMPLE = ANSWER | {
    "problem_id": "a", "trial": 0, "seed": 1, "answer": "25", "finish": "stop", "prompt_tokens": 4,
    "generated_tokens": 3, "decode_s": 0.5, "row_keys": 9.0, "device_j": 2.0, "token_ids": [5, 6, 7],
}  # fmt: skip
LOG = [HEADER, SAMPLE, SAMPLE | {"trial": 1, "decode_s": 0.25}]
FOREIGN = [
    [lm_eval(0, "How many?", "25", [RIGHT])] * 2, [lighteval("How many?", "25", [RIGHT], [[1, 2]])],
    [flat_lighteval("How many?", "25", [RIGHT], [[1, 2]])], [batch("2024-I-1-0", completion(RIGHT))],
    [bench([RIGHT, WRONG], [3, 4])],
    [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": RIGHT}], "answer": 25}],
]  # fmt: skip
FOREIGN_RULES = replace(STRICT, problems=FOREIGN_PROBLEMS, cut_budgets=())
PROBLEMS = [{"id": 1, "problem": "q?", "answer": "025"}, {"id": 2, "problem": "r?", "answer": 7}]
TABLE = ["m", "aime24", "q1", "0", "120", "tokens", "25", "25", "1"]
KNOWN_CONFIGS = [
    json.loads(line)["config"] for line in (ROOT / "kinetics/specs/known_models.jsonl").read_text().splitlines()
]
CELLS = [*TABLE, "", "-1", "9" * 400, "\x00", '"', ",", "nan", "é", "\ud800", " 5"]
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 1, "hidden_size": 8,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "intermediate_size": 8, "vocab_size": 10,
    "rms_norm_eps": 1e-6, "rope_theta": 1e4, "max_position_embeddings": 64, "eos_token_id": [2, 3],
    "tie_word_embeddings": True, "hidden_act": "silu",
    "rope_scaling": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
}  # fmt: skip


class OneLine:
    """A block may end, or end in a ValueError, which verbs say in one line, within the limit."""

    def __enter__(self) -> None:
        self._started_s = time.process_time()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> bool:
        assert time.process_time() - self._started_s < LIMIT_S
        if isinstance(error, ValueError):
            assert str(error)
            return True
        return False


@pytest.fixture
def path(tmp_path):
    return tmp_path / "aime24_qwen3-8b_dense.jsonl"


@FUZZED
@given(content=hostile_lines(TRACE))
def test_traces(path, content):
    path.write_bytes(content)
    for rules in (STRICT, RECORDED, KEEPS_GOING):
        with OneLine():
            read_trace_file(path, rules)
    with OneLine():
        read_trace_answers(path, keeps_going=True)


@settings(FUZZED, max_examples=200)
@given(content=st.sampled_from(FOREIGN).flatmap(hostile_lines))
def test_answers_of_other_programs(path, content):
    path.write_bytes(content)
    for rules in (FOREIGN_RULES, replace(FOREIGN_RULES, keeps_going=True)):
        with OneLine():
            read_trace_file(path, rules)


@settings(FUZZED, max_examples=200)
@given(content=hostile_lines(LOG))
def test_logs_and_what_the_law_makes_of_them(path, content):
    path.write_bytes(content)
    with OneLine():
        file = read_trace_file(path, RECORDED)
        lengths = [length for question in file.samples.questions for length in question.lengths]
        assert not file.header.is_own or max(lengths) <= file.header.max_new_tokens
        if file.header.spec is not None:
            logs = [Log(file=file, spec=file.header.spec)]
            tabulate_logs(logs, cost_models_of_logs(logs))


@FUZZED
@given(lines=st.lists(st.sampled_from(LOG[1:]), min_size=1, max_size=6))
def test_no_log_is_read_in_which_a_sample_stands_twice(path, lines):
    path.write_text("\n".join(json.dumps(line) for line in [HEADER, *lines]))
    num_distinct = len({line["trial"] for line in lines})
    for rules in (RECORDED, KEEPS_GOING):
        try:
            (question,) = read_trace_file(path, rules).samples.questions
        except DataFileError:
            assert not rules.keeps_going
            assert num_distinct < len(lines)
        else:
            assert question.num_trials == num_distinct


@FUZZED
@given(content=hostile_lines(LOG))
def test_logs_to_be_resumed(path, content):
    path.write_bytes(content)
    with OneLine(), SampleLog.resume(path, HEADER):
        pass


@FUZZED
@given(content=hostile_lines(PROBLEMS))
def test_problems(path, content):
    path.write_bytes(content)
    with OneLine():
        read_problems(path)
    whole = path.with_suffix(".json")
    whole.write_bytes(b"[" + content.strip().replace(b"\n", b",") + b"]")
    with OneLine():
        read_problems(whole)


@FUZZED
@given(values=st.lists(st.sampled_from(CELLS), max_size=10))
def test_tables_of_samples_and_problems(path, values):
    rows = [",".join(row) for row in (COLUMNS, TABLE, [*TABLE[: len(TABLE) - len(values)], *values])]
    table = path.with_suffix(".csv")
    table.write_bytes("\n".join(rows).encode("utf-8", "surrogatepass"))
    with OneLine():
        read_sample_table(table, prompt_len=10)
    table.write_bytes(("problem,answer\n" + "\n".join(values)).encode("utf-8", "surrogatepass"))
    with OneLine():
        read_problems(table)


@settings(FUZZED, max_examples=150)
@given(content=hostile_lines([make_document([make_row(), make_row(provider="other")])]))
def test_result_files_and_journals(path, content):
    result = path.with_suffix(".json")
    result.write_bytes(content)
    with OneLine():
        read_result_files([result])
    with OneLine():
        read_gate_file(result)


@FUZZED
@given(content=hostile_lines([
    {"pid": 1, "process_started": 0.0, "result": "r.json", "document": make_document([])}, make_row(),
]))  # fmt: skip
def test_journals(tmp_path, content):
    (tmp_path / f"r{JOURNAL_SUFFIX}").write_bytes(content)
    with OneLine():
        recover_journals(tmp_path, complete=lambda _: None)


@pytest.fixture
def folder(tmp_path, small_folder):
    return shutil.copytree(small_folder, tmp_path / "model", dirs_exist_ok=True)


@pytest.fixture(scope="module")
def small_folder(tmp_path_factory):
    """A tiny Llama, saved by hand."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("small")
    ones = torch.ones(8, 8)
    layer = {
        "self_attn.q_proj": ones, "self_attn.k_proj": ones[:4], "self_attn.v_proj": ones[:4], "self_attn.o_proj": ones,
        "mlp.gate_proj": ones, "mlp.up_proj": ones, "mlp.down_proj": ones, "input_layernorm": ones[0],
        "post_attention_layernorm": ones[0],
    }  # fmt: skip
    tensors = {f"model.layers.0.{name}.weight": tensor.clone() for name, tensor in layer.items()}
    tensors |= {"model.norm.weight": torch.ones(8), "model.embed_tokens.weight": torch.ones(10, 8)}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def load(folder: Path) -> None:
    import torch

    from kinetics.engine.checkpoint import load_weights, read_spec

    load_weights(folder, read_spec(folder).model, device="cpu", dtype=torch.float32)


def test_the_files_are_fine_before_anything_is_made_hostile(folder, path):
    load(folder)
    read_config_file(folder)
    path.write_text("".join(json.dumps(line) + "\n" for line in LOG))
    read_trace_file(path, RECORDED)
    SampleLog.resume(path, HEADER).__exit__(None, None, None)
    path.write_text("".join(json.dumps(line) + "\n" for line in TRACE))
    with pytest.raises(DataFileError, match="metadata and file name must agree"):
        read_trace_file(path, STRICT)
    path.with_suffix(".json").write_text(json.dumps(make_document([make_row()])))
    read_result_files([path.with_suffix(".json")])


@settings(FUZZED, max_examples=200)
@given(content=hostile_lines([CONFIG]))
def test_configs(folder, content):
    (folder / "config.json").write_bytes(content)
    with OneLine():
        load(folder)
    with OneLine():
        read_config_file(folder)


@settings(FUZZED, max_examples=200)
@given(data=st.data(), row=st.sampled_from(KNOWN_CONFIGS))
def test_configs_of_every_known_family(folder, data, row):
    (folder / "config.json").write_bytes(data.draw(hostile_lines([row])))
    with OneLine():
        architecture = read_config_file(folder)
        assert architecture.num_parameters >= 0


@FUZZED
@given(content=hostile_lines([{"eos_token_id": [2], "temperature": 1.0}]))
def test_generation_configs(folder, content):
    (folder / "generation_config.json").write_bytes(content)
    with OneLine():
        load(folder)


@FUZZED
@given(content=hostile_lines([{"metadata": {}, "weight_map": {"model.norm.weight": "model.safetensors", "a": "b"}}]))
def test_indices_of_shards(folder, content):
    (folder / "model.safetensors.index.json").write_bytes(content)
    with OneLine():
        load(folder)


@settings(FUZZED, max_examples=150)
@given(content=hostile_lines([make_document([make_row(), make_row("block_topk", kv_budget=256)])]))
def test_results_that_a_law_is_priced_by(path, content):
    result = path.with_suffix(".json")
    result.write_bytes(content)
    with OneLine():
        device = read_measured_device(result)
        assert min(device.read_bytes_per_s, device.matmul_flop_per_s) > 0


def header_of(data: bytes) -> tuple[dict[str, Any], bytes]:
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), data[8 + size :]


@settings(FUZZED, max_examples=150)
@given(data=st.data(), size=st.sampled_from([None, 0, 1, 2**20, 2**40, 2**63, 2**64 - 1]))
def test_headers_of_weights(folder, data, size):
    file = folder / "model.safetensors"
    header, tensors = header_of((folder / "model.safetensors").read_bytes())
    text = data.draw(hostile_lines([header])).strip()
    length = len(text) if size is None or data.draw(st.booleans()) else size
    file.write_bytes(struct.pack("<Q", length) + text + tensors)
    try:
        with OneLine():
            load(folder)
    finally:
        file.write_bytes(struct.pack("<Q", len(json.dumps(header))) + json.dumps(header).encode() + tensors)


@FUZZED
@given(data=st.data())
def test_tokenizers(tmp_path, data):
    tokenizers = pytest.importorskip("tokenizers")
    from kinetics.mini.tokenizer import make_tokenizer
    from kinetics.samples.prompts import PlainEncoder
    from kinetics.samples.tokenizers import FileTokenizer

    assert tokenizers
    content = data.draw(hostile_lines([json.loads(make_tokenizer().to_str())]))
    (tmp_path / "tokenizer.json").write_bytes(content)
    with OneLine():
        PlainEncoder(tmp_path).encode("A3")
    with OneLine():
        FileTokenizer(tmp_path / "tokenizer.json").count("A3")
