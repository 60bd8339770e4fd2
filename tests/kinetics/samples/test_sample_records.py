"""Answers as other programs log them: read as what they are, or refused with the fields that they lack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kinetics.files.lines import DataFileError
from kinetics.samples.grade_report import grade_file
from kinetics.samples.grading import grade_strict
from kinetics.samples.log_reader import TraceFile, read_trace_answers, read_trace_file
from kinetics.samples.problems import question_id, read_problems
from kinetics.samples.sample_set import Question
from kinetics.samples.tokenizers import CharTokenizer, Tokenizer, WordTokenizer
from kinetics.samples.trace_answers import TraceRules
from kinetics.specs.policies import Dense, TopK
from tests.support.foreign_samples import (
    PROBLEMS,
    RIGHT,
    VORTEX_ANSWER,
    VORTEX_SUMMARY,
    WRONG,
    batch,
    bench,
    completion,
    flat_lighteval,
    lighteval,
    lm_eval,
)


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra: law)")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(records), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(records[0], indent=4))
    else:
        path.write_text("\n".join(map(json.dumps, records)))
    return path


def read(path: Path, tokenizer: Tokenizer | None = None, *, recorded: bool = False) -> TraceFile:
    grader = None if recorded else grade_strict
    return read_trace_file(path, TraceRules(tokenizer=tokenizer, grader=grader, problems=PROBLEMS))


def question(file: TraceFile, text: str = "How many?") -> Question:
    return next(one for one in file.samples.questions if one.question_id == question_id(text))


def test_lm_eval_samples_are_of_the_folders_model_each_answer_once_whatever_the_filters(tmp_path):
    lines = [
        lm_eval(0, "How many?", "25", [RIGHT, WRONG]),
        lm_eval(1, "How much?", 7, ["so \\boxed{007}", "no"]),
        lm_eval(0, "How many?", "25", [RIGHT, WRONG], filter="maj@8"),
    ]
    path = write(tmp_path / "Qwen__Qwen3-8B" / "samples_aime24_2026-01-02T03-04-05.678.jsonl", lines)
    file = read(path, WordTokenizer())
    assert (file.samples.model, file.samples.dataset, file.samples.policy) == ("Qwen3-8B", "aime24", Dense())
    assert question(file).is_correct == (True, False)
    assert question(file, "How much?").is_correct == (True, False)
    assert file.samples.has_estimated_lengths
    assert "says nothing of attention, dense is assumed" in file.notes[0]


def test_a_recorded_score_counts_where_it_is_of_one_answer(tmp_path):
    path = tmp_path / "Qwen__Qwen3-8B" / "samples_aime24_2026-01-02.jsonl"
    write(path, [lm_eval(0, "How many?", "25", [WRONG], exact_match=1.0)])
    assert question(read(path, WordTokenizer(), recorded=True)).is_correct == (True,)
    write(path, [lm_eval(0, "How many?", "25", [RIGHT, WRONG], exact_match=1.0)])
    with pytest.raises(DataFileError, match=r":1: score must be 0, 1 or 100, got 'None'; grade anew with --grader"):
        read(path, WordTokenizer(), recorded=True)


@pytest.mark.parametrize("make", [lighteval, flat_lighteval])
def test_lighteval_details_have_their_tokens_with_them(tmp_path, make):
    folder = tmp_path / "details" / "Qwen" / "Qwen3-8B" / "2026-01-02T03-04-05.678"
    path = folder / "details_lighteval|aime24|0_2026-01-02T03-04-05.678.parquet"
    file = read(write(path, [make("How many?", "25", [RIGHT, WRONG], [[1, 2, 3], [4, 5, 6, 7]])]))
    assert (file.samples.model, file.samples.dataset) == ("Qwen3-8B", "aime24")
    assert question(file).lengths == (3, 4)
    assert question(file).is_correct == (True, False)
    assert not file.samples.has_estimated_lengths


def test_servers_answers_are_matched_by_id_and_know_their_lengths_and_ends(tmp_path):
    lines = [
        batch("2024-I-1", completion(RIGHT, tokens=9)),
        batch("2024-I-1-1", completion("", finish="length", tokens=11, reasoning_content=WRONG)),
        batch("2024-I-2/0", completion("\\boxed{7}")),
        batch("2024-I-2/1", completion("\\boxed{8}")),
    ]
    file = read(write(tmp_path / "aime24_qwen3-8b_local0_topk64.jsonl", lines))
    assert (file.samples.model, file.samples.policy) == ("Qwen3-8B", TopK(kv_budget=64))
    found = question(file)
    assert (found.lengths, found.is_cut_off, found.is_correct) == ((9, 11), (False, True), (True, False))
    assert (found.answers, found.prompt_len) == (("25", "24"), 31)


@pytest.mark.parametrize("name", ["bench.json", "bench.jsonl"])
def test_bench_output_is_matched_in_order_where_prompt_lengths_agree(tmp_path, name):
    path = tmp_path / name
    texts = [RIGHT, "\\boxed{7}", WRONG, "\\boxed{8}"]
    file = read(write(path, [bench(texts, [31, 40, 31, 40])]))
    assert question(file).is_correct == question(file, "How much?").is_correct == (True, False)
    assert question(file).lengths == (5, 7)
    write(path, [bench(texts, [31, 40, 40, 31])])
    with pytest.raises(DataFileError, match="must be in the order of the problems, got prompts of 31 and 40 tokens"):
        read(path)


def test_vortex_answers_are_read_and_its_summary_refused_with_what_it_lacks(tmp_path):
    path = write(tmp_path / "aime24_qwen3-8b_local0_topk64.jsonl", [VORTEX_ANSWER])
    assert question(read(path, recorded=True)).lengths == (12,)
    with pytest.raises(DataFileError, match="lacks query, choices, prediction and num_tokens of each"):
        read(write(tmp_path / "latest.json", [VORTEX_SUMMARY]))


def test_messages_are_a_question_and_its_answer(tmp_path):
    messages = [{"role": "user", "content": "How many?"}, {"role": "assistant", "content": RIGHT}]
    path = write(tmp_path / "m.jsonl", [{"messages": messages, "answer": 25, "model": "Qwen3-8B"}])
    file = read(path, CharTokenizer())
    assert question(file).is_correct == (True,)
    assert question(file).lengths == (round(len(RIGHT) / 2.6),)
    assert file.samples.has_estimated_lengths


@pytest.mark.parametrize(
    ("name", "record", "message"),
    [
        ("a.jsonl", {"prompt": "x", "completion": "y"}, r"a\.jsonl:1: samples must be in a known form, got fields "
         r"completion, prompt; to be a trace it lacks query, choices, prediction$"),
        ("a.jsonl", {"doc_id": 1, "target": "25", "resps": []}, r"be lm-eval-harness samples it lacks filtered_resps$"),
        ("a.parquet", {"example": "q", "gold": ["25"], "predictions": ["x"]},
         r"to be lighteval details it lacks cont_tokens, metrics$"),
        ("a.json", {"generated_texts": ["x"], "output_lens": [3]}, r"bench output it lacks input_lens$"),
        ("a.json", {}, r"got fields none; to be a trace it lacks query"),
        ("a.jsonl", batch("other", completion(RIGHT)), r":1: a request must be named by the id of a problem, got 'o"),
        ("a.jsonl", batch("2024-I-1", {}) | {"response": {"status_code": 500, "body": {}}},
         r":1: a request must have been answered, got 500"),
        ("a.json", bench([RIGHT], [3]), r":1: requests must be the 2 problems a whole number of times, got 1 requests"),
        ("a.json", bench([RIGHT, ""], [3, 4], errors=["", "timeout"]), r":1: request 1 must have been answered"),
        ("a.json", bench([RIGHT, "x"], [3]), r":1: generated_texts and input_lens must be as many, got 2 and 1"),
        ("Qwen__Q/a.jsonl", lm_eval(0, "q", "25", [RIGHT]) | {"doc": {}, "arguments": {}}, r":1: doc must hold the qu"),
        ("a.jsonl", {"messages": [{"role": "user", "content": "q"}], "model": "Qwen3-8B"},
         r":1: messages must be of a user and an assistant beside answer or gold or"),
    ],
    ids=range(12),
)  # fmt: skip
def test_what_cannot_be_read_is_named_with_what_it_lacks(tmp_path, name, record, message):
    path = write(tmp_path / name, [record])
    with pytest.raises(DataFileError, match=message):
        read(path, WordTokenizer())
    with pytest.raises(DataFileError, match=message):
        read_trace_answers(path, keeps_going=False, problems=PROBLEMS)


@pytest.mark.parametrize("record", [batch("2024-I-1", completion(RIGHT)), bench([RIGHT], [3]), completion(RIGHT)])
def test_answers_alone_need_problems(tmp_path, record):
    path = write(tmp_path / "a.jsonl", [record])
    with pytest.raises(DataFileError, match="lack query and choices; give questions and gold answers with --problems"):
        read_trace_file(path, TraceRules(tokenizer=None, grader=grade_strict))


@pytest.mark.parametrize("text", ["", "{}", '{"task": "aime24"}', '{"a": 1}\n{"a": 2}', "[1]"])
def test_grading_a_file_without_answers_is_an_error(tmp_path, text):
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(DataFileError, match=r"a\.jsonl"):
        grade_file(path, grader="strict", keeps_going=False)


def test_grading_reads_problems_from_a_file(tmp_path):
    problems = tmp_path / "problems.jsonl"
    problems.write_text(
        "\n".join(json.dumps({"id": p.problem_id, "problem": p.text, "answer": p.gold}) for p in PROBLEMS)
    )
    assert read_problems(problems) == PROBLEMS
    path = write(tmp_path / "a.jsonl", [batch("2024-I-1", completion(RIGHT)), batch("2024-I-2", completion(WRONG))])
    found = grade_file(path, grader="strict", keeps_going=False, problems_file=problems)
    assert (found["answers"], found["correct"]) == (2, 1)


@pytest.mark.parametrize("name", ["gone.jsonl", "gone.json", "gone.parquet"])
def test_a_missing_file_is_named_whatever_its_form(tmp_path, name):
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra: law)")
    with pytest.raises(DataFileError, match=rf"{name}: cannot be read \([Nn]o such file"):
        read(tmp_path / name)
