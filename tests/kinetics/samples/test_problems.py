"""Problems come checked from every source, and what cannot be used is refused with source, rule and remedy."""

from __future__ import annotations

import csv
import json

import pytest

from kinetics.samples.problems import HUB_DATASETS, HubDataset, load_problems, parse_problems, read_problems

ROWS = [
    {"id": 60, "problem": "first?", "answer": "025"},
    {"id": 61, "problem": "second?", "answer": "336^\\circ"},
    {"id": 62, "problem": "third, with\na line break?", "answer": "7"},
]


def write(path, rows):
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case ".json":
            path.write_text(json.dumps(rows, indent=1))
        case ".parquet":
            parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (extra: aime)")
            parquet.write_table(pytest.importorskip("pyarrow").Table.from_pylist(rows), path)
        case _:
            with path.open("w", newline="", encoding="utf-8-sig") as file:
                writer = csv.DictWriter(file, fieldnames=list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".CSV", ".parquet"])
def test_a_file_gives_the_same_problems_in_every_format(tmp_path, suffix):
    found = read_problems(write(tmp_path / f"made{suffix}", ROWS))
    assert [(p.problem_id, p.gold) for p in found] == [("60", 25), ("61", 336), ("62", 7)]
    assert found[2].text == "third, with\na line break?"


def test_a_file_that_changed_is_read_anew(tmp_path):
    path = write(tmp_path / "made.jsonl", ROWS)
    read_problems(path)
    write(path, [{"id": 60, "problem": "other?", "answer": "1"}])
    assert [p.text for p in read_problems(path)] == ["other?"]


@pytest.mark.parametrize("answer", [25, 25.0, "25", " $025$ "])
def test_a_gold_answer_is_an_integer_however_it_is_stored(answer):
    (problem,) = parse_problems([{"problem": "q", "answer": answer}], ["problem", "answer"], source="made")
    assert problem.gold == 25
    assert problem.problem_id == "0"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "a", "problem": "q", "answer": "x\n1"}], "made: problem a: .*integer or an expression .*, got 'x"),
        ([{"id": "a", "problem": "q", "answer": True}], r"problem a: .*got 'True'"),
        ([{"id": "a", "problem": "q", "answer": [1]}], r"problem a: .*got '\[1\]'"),
        ([{"id": "a", "problem": " ", "answer": 1}], "problem a must have a text, got ' '"),
        ([{"id": "a", "problem": None, "answer": 1}], "problem a must have a text, got 'None'"),
        ([{"id": i, "problem": f"q{i // 2}", "answer": 1} for i in range(2)], "differ in text, got 0 and 1 alike"),
        ([{"id": 7, "problem": f"q{i}", "answer": 1} for i in range(2)], "differ in id, got 7 and 7 alike"),
        ([], "at least one problem, got none"),
    ],
)
def test_a_problem_that_cannot_be_used_is_named(rows, message):
    with pytest.raises(ValueError, match=message):
        parse_problems(rows, ["id", "problem", "answer"], source="made")


def test_a_missing_column_is_named_with_those_there(tmp_path):
    path = write(tmp_path / "made.jsonl", [{"id": 1, "task": "q", "answer": 1}])
    with pytest.raises(ValueError, match=r"made.jsonl: .*column 'problem', got id, task, answer"):
        read_problems(path)


def test_a_broken_file_ends_in_one_line(tmp_path):
    path = tmp_path / "made.jsonl"
    path.write_text('{"id": 1, "problem": "q", "ans')
    with pytest.raises(ValueError, match=r"made.jsonl: problems must be rows of id, problem, answer") as raised:
        read_problems(path)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_or_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        read_problems(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match=r"\.jsonl, \.json, \.csv, \.parquet file, got '\.txt'"):
        read_problems(tmp_path / "made.txt")


def test_without_a_network_the_flag_that_helps_is_named(monkeypatch):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed (extra: aime)")

    def unreachable(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(
        ValueError, match=r"HuggingFaceH4/aime_2024 cannot be fetched .*--problems FILE with columns id"
    ):
        load_problems("aime24")


def test_an_unknown_data_set_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"one of aime24, aime25, .* or ORG/NAME:SPLIT of the hub, got 'aime23'"):
        load_problems("aime23")


@pytest.mark.parametrize("name", HUB_DATASETS)
def test_the_hub_is_asked_for_the_right_split_and_the_count_is_checked(monkeypatch, name):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed (extra: aime)")
    asked = []

    def stored(hub_id, *, split):
        asked.append((hub_id, split))
        rows = [{"id": i, "problem": f"q{i}", "answer": str(i)} for i in range(count)]
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(datasets, "load_dataset", stored)
    count = expected = HUB_DATASETS[name].num_problems
    assert [p.gold for p in load_problems(name)] == list(range(count))
    assert asked == [(HUB_DATASETS[name].hub_id, HUB_DATASETS[name].split)]
    count = expected - 1
    with pytest.raises(ValueError, match=f"must hold {expected} problems, got {count}"):
        load_problems(name)


def test_any_set_of_the_hub_may_be_asked_for_and_calls_its_columns_as_others_do(monkeypatch):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed (extra: aime)")
    asked = []

    def stored(hub_id, *, split):
        asked.append((hub_id, split))
        return datasets.Dataset.from_list([{"problem_idx": 7, "question": "half?", "answer": "\\frac{1}{2}"}])

    monkeypatch.setattr(datasets, "load_dataset", stored)
    (problem,) = load_problems("ORG/set_1:train")
    assert (problem.problem_id, problem.text, problem.gold) == ("7", "half?", "\\frac{1}{2}")
    load_problems("ORG/set_1")
    assert asked == [("ORG/set_1", "train"), ("ORG/set_1", "test")]
    made = HubDataset(hub_id="ORG/x", split="test", num_problems=1, has_integer_answers=True)
    monkeypatch.setitem(HUB_DATASETS, "made", made)
    with pytest.raises(ValueError, match="problem 7 must have an integer, got"):
        load_problems("made")


@pytest.mark.parametrize("answer", [None, True, float("nan"), [1], {"a": 1}, "", "$$", "x" * 301, "a\nb"])
def test_what_is_no_answer_is_refused(answer):
    with pytest.raises(ValueError, match="gold answer must be an integer or an expression"):
        parse_problems([{"problem": "q", "answer": answer}], ["problem", "answer"], source="made")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"problem": "q", "answer": 1, "answer": 2}', "line 1: an object must have each key once"),
        ("a.jsonl", '{"problem": "q", "answer": 1}\n[1]', "line 2: list where an object must be"),
        ("a.jsonl", '{"problem": "q", "answer": 1}\n{"problem": "r"}', "problem 1: gold answer .* got 'None'"),
        (
            "a.jsonl",
            '{"problem": "q\\ud800", "answer": 1}',
            "problem 0: text must be text, got half a surrogate pair at 1",
        ),
        ("a.jsonl", '{"problem": "q", "answer": %s}' % ("9" * 4000), "problem 0: gold answer must be an integer"),
        ("a.json", '{"problem": "q", "answer": 1}', "dict where a list must be"),
        ("a.json", "[" * 10**5, "nested at most 64 deep"),
        ("a.csv", "problem,answer\nq\n", "row 1 of 1 fields for 2 columns"),
        ("a.csv", 'problem,answer\n"q,1\n', "unexpected end of data"),
        ("a.csv", "problem,answer\n", "must hold at least one problem, got none"),
        ("a.csv", "", "must hold at least one problem, got none"),
        ("a.parquet", "PAR1 and no more", "problems must be rows of id, problem, answer"),
        ("a.jsonl", '{"problem": "%s", "answer": 1}' % ("a" + "\u0301\u0316" * 10**5), "at most 30 marks"),
    ],
)
def test_a_hostile_file_ends_in_one_line(tmp_path, name, content, message):
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra: aime)")
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message) as raised:
        read_problems(tmp_path / name)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


def test_numbers_of_a_csv_file_are_the_ids_and_golds_that_they_spell(tmp_path):
    (tmp_path / "a.csv").write_text("id,problem,answer\n,q,7\n07,r,025\n")
    assert [(p.problem_id, p.gold) for p in read_problems(tmp_path / "a.csv")] == [("0", 7), ("07", 25)]
