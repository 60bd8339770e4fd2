"""Samples of a request: what does not belong together is refused in one line, what is estimated says so everywhere."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kinetics.files.lines import DataFileError
from kinetics.law.request import LawRequest
from kinetics.law.run import run_law
from kinetics.law.sources import read_samples
from kinetics.samples.sample_tables import COLUMNS
from kinetics.specs.models import find_model

NUM_QUESTIONS, NUM_TRIALS = 4, 4


def answers(**more: Any) -> list[dict[str, Any]]:
    """Answers of one model; every other one is right."""
    return [
        {
            "query": f"Question {question}?", "choices": ["7"],
            "prediction": [f"{'so ' * (9 + 5 * trial)}\\boxed{{{7 if (question + trial) % 2 else 8}}}"],
            "score": 100.0 if (question + trial) % 2 else 0.0,
        } | more
        for trial in range(NUM_TRIALS)
        for question in range(NUM_QUESTIONS)
    ]  # fmt: skip


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(map(json.dumps, records)))
    return path


def write_table(path: Path, *models: str, answer: str = "7", unit: str = "chars") -> Path:
    rows = [
        (model, "aime24", f"q{question}", trial, 400 + 90 * trial + question, unit, answer, "7", (question + trial) % 2)
        for model in models
        for question in range(NUM_QUESTIONS)
        for trial in range(NUM_TRIALS)
    ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return path


def save_tokenizer(path: Path, num_tokens: int) -> Path:
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed (extra: law)")
    model = tokenizers.models.WordLevel({"?": 0} | {f"w{i}": i for i in range(1, num_tokens)}, unk_token="?")
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(path))
    return path


def other_prompts(folder: Path) -> LawRequest:
    one = write(folder / "aime24_qwen3-8b_dense.jsonl", answers(prompt_tokens=31, generated_tokens=50))
    two = write(folder / "aime24_qwen3-8b_local0_topk64.jsonl", answers(prompt_tokens=45, generated_tokens=50))
    return LawRequest(out=folder / "out", files=(one, two))


def other_questions(folder: Path) -> LawRequest:
    one = write(folder / "aime24_qwen3-8b_dense.jsonl", answers(generated_tokens=50))
    two = write(folder / "aime24_qwen3-8b_local0_topk64.jsonl", answers(generated_tokens=50, query="Solve: how many?"))
    return LawRequest(out=folder / "out", files=(one, two))


def unknown_models(folder: Path) -> LawRequest:
    return LawRequest(out=folder / "out", files=(write_table(folder / "a.csv", "Mine-7B", "Qwen3-8B", "Yours-2B"),))


def another_models_tokenizer(folder: Path) -> LawRequest:
    files = (write(folder / "aime24_qwen3-8b_dense.jsonl", answers()),)
    tokenizer = save_tokenizer(folder / "tokenizer.json", 128_256)
    return LawRequest(out=folder / "out", files=files, tokenizer=str(tokenizer))


def mixed_lengths(folder: Path) -> LawRequest:
    records = [*answers(generated_tokens=50)[:-1], answers()[-1]]
    return LawRequest(
        out=folder / "out", files=(write(folder / "aime24_qwen3-8b_dense.jsonl", records),), tokenizer="words"
    )


def no_lengths(folder: Path) -> LawRequest:
    return LawRequest(out=folder / "out", files=(write(folder / "aime24_qwen3-8b_dense.jsonl", answers()),))


def unknown_file(folder: Path) -> LawRequest:
    return LawRequest(out=folder / "out", files=(write(folder / "notes.jsonl", [{"text": "x"}]),))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (other_prompts, r"topk64\.jsonl: files of Qwen3-8B must ask in the same prompts, got 31 tokens under dense "
         r"and 45 here for \w+; --keep-going"),
        (other_questions, r"topk64\.jsonl: samples must be of the questions of .*dense\.jsonl, got 5 others, first"),
        (unknown_models, r"^models must be known ones, got 'Mine-7B', 'Yours-2B'; say --architecture Mine-7B=SPEC "
         r"--architecture Yours-2B=SPEC \(SPEC: a config.json, or one of Qwen3-0.6B, .*\), or --keep-going"),
        (another_models_tokenizer, r"^--tokenizer must be the models' own, got one of 128256 tokens for vocabularies "
         r"of Qwen3-8B \(151936\); make one law per tokenizer"),
        (mixed_lengths, r"dense\.jsonl:16: lengths of a file must all be recorded or all be counted by a tokenizer, "),
        (no_lengths, r"dense\.jsonl:1: sample has no token ids; count its tokens with --tokenizer .*--tokenizer chars"),
        (unknown_file, r"notes\.jsonl:1: samples must be in a known form, got fields text; to be a trace it lacks"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_samples_that_make_no_law_are_refused_in_one_line(tmp_path, make, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_samples(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_the_models_own_tokenizer_is_taken(tmp_path):
    files = (write(tmp_path / "aime24_qwen3-8b_dense.jsonl", answers()),)
    tokenizer = save_tokenizer(tmp_path / "tokenizer.json", int(0.95 * find_model("Qwen3-8B").vocab_size))
    samples = read_samples(LawRequest(out=tmp_path / "out", files=files, tokenizer=str(tokenizer)))
    assert not samples.sets[0].has_estimated_lengths


def test_keep_going_leaves_out_files_with_other_prompts(tmp_path):
    request = other_prompts(tmp_path)
    samples = read_samples(LawRequest(out=request.out, files=request.files, keeps_going=True))
    assert len(samples.sets) == len(samples.trace_files) == 1
    assert "must ask in the same prompts" in samples.left_out[0]


def test_keep_going_leaves_out_files_that_cannot_be_read_and_says_where(tmp_path):
    good = write(tmp_path / "aime24_qwen3-8b_dense.jsonl", answers(generated_tokens=50))
    schema = write(tmp_path / "other.jsonl", [{"kinetics_log": 99}, *answers()])
    cut = tmp_path / "cut.csv"
    cut.write_text("model,dataset\n")
    request = LawRequest(out=tmp_path / "out", files=(schema, good, cut, tmp_path / "none.jsonl"))
    with pytest.raises(ValueError, match=r"other\.jsonl:1: header must be one that kinetics generate wrote"):
        read_samples(request)
    samples = read_samples(replace(request, keeps_going=True))
    assert len(samples.sets) == 1
    starts = (f"{schema}:1: ", f"{cut}:1: ", f"{tmp_path / 'none.jsonl'}: cannot be read")
    assert [line.startswith(start) for line, start in zip(samples.left_out, starts, strict=True)] == [True] * 3


def test_keep_going_with_nothing_left_is_an_error(tmp_path):
    schema = write(tmp_path / "other.jsonl", [{"kinetics_log": 99}, *answers()])
    with pytest.raises(DataFileError, match=r"other\.jsonl:1: header must be"):
        read_samples(LawRequest(out=tmp_path / "out", files=(schema,), keeps_going=True))


def test_answers_that_were_not_parsed_make_no_majority_and_the_law_says_so(tmp_path):
    table = write_table(tmp_path / "a.csv", "Qwen3-4B", "Qwen3-8B", answer="")
    outcome = run_law(LawRequest(out=tmp_path / "out", files=(table,), draws_figures=False))
    assert any(remark.startswith("no majority for Qwen3-4B, Qwen3-8B: none of their ans") for remark in outcome.remarks)
    assert not list((tmp_path / "out").glob("*majority*"))


def tables_of(folder: Path) -> dict[str, list[dict[str, str]]]:
    return {path.stem: list(csv.DictReader(path.open(newline=""))) for path in folder.glob("*.csv")}


def about_models(row: dict[str, str]) -> list[str]:
    """Columns of a row in which a model of one's own stands."""
    return [name for name, value in row.items() if value and value.startswith("Qwen3-")]


@pytest.mark.parametrize("is_logs", [False, True], ids=["files", "logs"])
def test_estimated_lengths_are_labelled_in_every_row_that_names_a_model(tmp_path, is_logs):
    folder = tmp_path / "in"
    folder.mkdir()
    names = ("aime24_qwen3-8b_dense.jsonl", "aime24_qwen3-8b_local0_topk64.jsonl")
    paths = tuple(write(folder / name, answers(decode_s=0.5)) for name in names)
    source = {"traces": folder} if is_logs else {"files": paths}
    run_law(LawRequest(out=tmp_path / "out", tokenizer="chars", draws_figures=False, asks_claims=False, **source))  # type: ignore[arg-type]
    own = {
        name: rows for name, rows in tables_of(tmp_path / "out").items()
        if name not in {"models", "iso_cost", "mended_costs", "throughput_bounds", "fits"}
    }  # fmt: skip
    assert len(own) > 5
    unlabelled = [
        name for name, rows in own.items() for row in rows if about_models(row) and "estimated" not in row.values()
    ]
    assert not unlabelled
