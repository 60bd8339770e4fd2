"""Sample tables: read, checked row by row, estimates labelled; and the published samples where they are at hand."""

import json
import os
from pathlib import Path

import pytest

from kinetics.files.lines import DataFileError
from kinetics.law.accuracy import accuracy_tables
from kinetics.law.accuracy_estimates import mean_coverage, mean_length
from kinetics.samples.sample_tables import read_sample_table, read_table_answers
from kinetics.specs.policies import TopK

HEADER = "model,dataset,question_id,trial,generated_length,length_unit,answer,gold,correct"
REFERENCE = os.environ.get("KINETICS_REFERENCE_DATA")
needs_reference = pytest.mark.skipif(
    REFERENCE is None, reason="KINETICS_REFERENCE_DATA is not set: it names the folder with aime24_samples.csv"
)


def write(path, rows, header=HEADER):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def row(question="q1", trial=0, length=100, unit="tokens", answer=5, gold=5, correct=1, model="M", dataset="d"):
    return f"{model},{dataset},{question},{trial},{length},{unit},{answer},{gold},{correct}"


def test_a_table_becomes_one_set_per_model_and_policy(tmp_path):
    rows = [f"{row(trial=t, length=100 + t)},{policy}" for policy in ("dense", "topk64") for t in (1, 0)]
    found = read_sample_table(write(tmp_path / "t.csv", rows, HEADER + ",policy"), prompt_len=50).sets
    assert [samples.policy for samples in found][1] == TopK(kv_budget=64)
    assert found[0].questions[0].lengths == (100, 101)
    assert found[0].questions[0].prompt_len == 50
    assert not found[0].has_estimated_lengths


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "M\ud800"}, "model must be text, got half a surrogate pair at 1"),
        ({"question_id": "\ud800"}, "question_id must be text, got half a surrogate pair at 0"),
        ({"generated_length": 2**40 + 1}, "generated_length must be a count, got '1099511627777'"),
        ({"policy": "topk" + "9" * 13}, "policy must be a count, got '9999999999999'"),
        ({"policy": "topk" + "9" * 30}, "policy must hold counts, got '99999999999999999999'"),
    ],
)
def test_values_that_no_table_could_be_made_of_are_refused_with_their_line(tmp_path, change, message):
    good = dict(zip(HEADER.split(","), ["M", "d", "q", 0, 100, "tokens", "5", "5", 1], strict=True))
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in (good, good | {"trial": 1} | change)))
    with pytest.raises(DataFileError, match=rf"t\.jsonl:2: .*{message}"):
        read_sample_table(path, prompt_len=10)
    assert len(read_sample_table(path, prompt_len=10, keeps_going=True).left_out) == 1


def test_lengths_in_characters_become_labelled_estimates(tmp_path):
    path = write(tmp_path / "t.csv", [row(length=2600, unit="chars")])
    (samples,) = read_sample_table(path, prompt_len=0).sets
    assert samples.questions[0].lengths == (1000,)
    assert samples.has_estimated_lengths
    for table in accuracy_tables([samples], seed=0):
        assert {line[3] for line in table.rows} == {"estimated"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(), row()], r":3: trials must be there once, got trial 0 of q1 for M here and in line 2"),
        ([row(), row(trial=1), row("q2")], r":4: every question must have as many trials, got no trial 1 of q2 for M"),
        ([row(), row(trial=1, gold=6)], r":3: a question must have one gold answer, got '5' in line 2, '6'"),
        ([row(correct="yes")], r":2: correct must be 0 or 1, or true or false, got 'yes'"),
        ([row(unit="bytes")], r":2: length_unit must be tokens or chars"),
        ([row(length="1e3")], r":2: generated_length must be a count, got '1e3'"),
        ([row(length="-3")], r":2: generated_length must be a count"),
        ([row(model="")], r":2: model, dataset and question_id must not be empty"),
        ([row() + ",more"], r":2: row must have 9 fields, got 10"),
        ([row(answer='"5')], r":2: row must be CSV"),
        ([row(), row(trial=1, unit="chars")], r"lengths of M must have one unit, got tokens and chars"),
        ([], r"must hold at least one sample, got none"),
    ],
    ids=range(12),
)
def test_a_bad_table_is_named_with_its_line(tmp_path, rows, message):
    path = write(tmp_path / "t.csv", rows)
    with pytest.raises(DataFileError, match=message) as caught:
        read_sample_table(path, prompt_len=0)
    assert str(path) in str(caught.value)


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(DataFileError, match=r":1: table must have columns model, .*, got none named gold"):
        read_sample_table(write(tmp_path / "t.csv", [], HEADER.replace(",gold", "")), prompt_len=0)


def test_keep_going_uses_the_trials_that_every_question_has(tmp_path):
    rows = [row(), row(trial=1), row("q2"), row("q2", trial=1, correct="?")]
    found = read_sample_table(write(tmp_path / "t.csv", rows), prompt_len=0, keeps_going=True)
    assert [question.num_trials for question in found.sets[0].questions] == [1, 1]
    assert [item.line for item in found.left_out] == [5, 4]


def test_answers_of_a_table_can_be_graded_anew(tmp_path):
    answers, _ = read_table_answers(write(tmp_path / "t.csv", [row(), row(trial=1, answer="")]), keeps_going=False)
    assert [answer.text for answer in answers] == ["\\boxed{5}", "no answer"]


@pytest.fixture(scope="module")
def published_sets():
    table = read_sample_table(Path(REFERENCE or ".") / "aime24_samples.csv", prompt_len=200)
    return {samples.model: samples for samples in table.sets}


@needs_reference
def test_published_samples_are_read_whole(published_sets):
    assert sum(len(s.questions) * s.min_trials for s in published_sets.values()) == 29_400
    estimated = {name for name, samples in published_sets.items() if samples.has_estimated_lengths}
    assert estimated == {"Qwen3-4B", "Qwen3-14B", "MetaStone-S1-32B"}


@needs_reference
@pytest.mark.parametrize(
    ("model", "pass_at_1", "generated"),
    [("Qwen3-30B-A3B-Thinking-2507", 0.905, 16483), ("AM-Thinking-v1", 0.7887, 15760), ("gpt-oss-20b", 0.758, 9336)],
)
def test_published_samples_give_their_accuracy_and_length(published_sets, model, pass_at_1, generated):
    assert mean_coverage(published_sets[model], trials=1) == pytest.approx(pass_at_1, abs=5e-5)
    assert mean_length(published_sets[model]) == pytest.approx(generated, abs=0.5)


@needs_reference
def test_published_samples_carry_their_label_into_every_table(published_sets):
    chosen = [published_sets["Qwen3-4B"], published_sets["AM-Thinking-v1"]]
    for table in accuracy_tables(chosen, seed=0):
        labels = {line[0]: line[3] for line in table.rows}
        assert labels == {"Qwen3-4B": "estimated", "AM-Thinking-v1": "tokens"}
