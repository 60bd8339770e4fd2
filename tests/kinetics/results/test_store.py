"""Result files are strict JSON, whole or absent, and rows outlive their process."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.files.atomic import CannotWriteError, to_strict, write_json
from kinetics.results.journal import RowJournal, recover_journals
from kinetics.results.store import SCHEMA, check_writable, read_result, result_path


def no_completion(document):
    document["completed"] = True


def completion_of_the_gate(document):
    """Moves the rows elsewhere, as the gate does."""
    document["runs"], document["benchmarks"] = document["benchmarks"], []


def test_numpy_scalars_become_numbers_and_nan_becomes_null():
    value = {"a": np.float32(1.5), "b": np.int64(3), "c": float("nan"), "d": [float("inf")], 5: {"e": np.bool_(True)}}
    assert to_strict(value) == {"a": 1.5, "b": 3, "c": None, "d": [None], "5": {"e": True}}


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=12,
)


@given(json_like)
def test_strict_values_always_survive_a_strict_round_trip(value):
    strict = to_strict(value)
    assert json.loads(json.dumps(strict, allow_nan=False)) == strict


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_json(path, {"rows": 1})
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(CannotWriteError, match="disk full"):
        write_json(path, {"rows": 2})
    assert json.loads(path.read_text()) == {"rows": 1}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a result file"),
        ('{"benchmarks": [], "schema": 99}', "schema must be 1, got 99"),
    ],
)
def test_a_file_that_is_no_result_is_refused_by_name(tmp_path, text, complaint):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"broken.json: {complaint}"):
        read_result(path)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.json: cannot be read"):
        read_result(tmp_path / "gone.json")


def test_the_file_name_tells_device_time_commit_and_grid(tmp_path):
    path = result_path(tmp_path, "nvidia-h200", started=0.0, commit="0123456789", is_dirty=True, grid="quick")
    assert path == tmp_path / "nvidia-h200" / f"19700101T000000Z_0123456-dirty_quick_{os.getpid()}.json"


def test_an_unwritable_folder_is_refused_before_anything_is_measured(tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(ValueError, match=r"taken.* cannot be written .*--results-dir"):
        check_writable(tmp_path / "taken")


def test_rows_of_a_killed_process_become_a_result_file(tmp_path):
    killed = textwrap.dedent(f"""
        import os, pathlib, signal
        from kinetics.results.journal import RowJournal
        journal = RowJournal(pathlib.Path({str(tmp_path)!r}) / "run.json", {{"schema": {SCHEMA}, "machine_info": {{}}}})
        for number in range(3):
            journal.append({{"name": f"case{{number}}", "extra_info": {{}}}})
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    subprocess.run([sys.executable, "-c", killed], check=False)
    with (tmp_path / "run.journal.jsonl").open("a") as journal:
        journal.write('{"name": "half a li')
    (made,) = recover_journals(tmp_path, complete=no_completion)
    document = read_result(made)
    assert made.name == "run_partial.json"
    assert [row["name"] for row in document["benchmarks"]] == ["case0", "case1", "case2"]
    assert document["is_partial"]
    assert document["completed"]
    assert not list(tmp_path.glob("*.journal.jsonl"))


def test_the_journal_of_a_living_process_is_left_alone(tmp_path):
    journal = RowJournal(tmp_path / "run.json", {"schema": SCHEMA})
    journal.append({"name": "case0"})
    assert recover_journals(tmp_path, complete=no_completion) == []
    assert journal.path.exists()
    journal.discard()
    assert not journal.path.exists()


def test_a_journal_of_another_version_is_put_aside_and_stops_nobody(tmp_path):
    killed = "import os, pathlib; from kinetics.results.journal import RowJournal;"
    killed += f"RowJournal(pathlib.Path({str(tmp_path)!r}) / 'run.json', {{}}).append({{'name': 'x'}}); os._exit(1)"
    subprocess.run([sys.executable, "-c", killed], check=False)

    def complete(document):
        document["a field of another version"]

    (aside,) = recover_journals(tmp_path, complete=complete)
    assert aside.name == "run.journal.jsonl.unreadable"
    assert '"name": "x"' in aside.read_text()
    assert recover_journals(tmp_path, complete=complete) == []


def test_a_completion_that_moves_the_rows_still_makes_a_file(tmp_path):
    header = {"pid": 2**30, "process_started": 1.0, "result": "run.json", "document": {"schema": SCHEMA}}
    (tmp_path / "run.journal.jsonl").write_text(f'{json.dumps(header)}\n{{"name": "x"}}\n')
    (made,) = recover_journals(tmp_path, complete=completion_of_the_gate)
    assert read_result(made)["runs"] == [{"name": "x"}]


@pytest.mark.parametrize(
    "changes", [{"pid": "4711"}, {"document": []}, {"result": 7}, None], ids=["pid", "document", "result", "header"]
)
def test_a_journal_whose_header_is_none_of_ours_is_put_aside_and_stops_nobody(tmp_path, changes):
    header = {"pid": 2**30, "process_started": 1.0, "result": "run.json", "document": {}}
    first_line = 5 if changes is None else header | changes
    (tmp_path / "run.journal.jsonl").write_text(f'{json.dumps(first_line)}\n{{"name": "x"}}\n')
    (aside,) = recover_journals(tmp_path, complete=no_completion)
    assert aside.name == "run.journal.jsonl.unreadable"


def test_a_journal_that_never_got_a_header_is_cleared_away(tmp_path):
    (tmp_path / "run.journal.jsonl").write_text("")
    assert recover_journals(tmp_path, complete=no_completion) == []
    assert not list(tmp_path.iterdir())
