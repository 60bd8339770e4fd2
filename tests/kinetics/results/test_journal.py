"""The journal of a run in progress: on disk row by row, under a name of its own, locked while the run lives."""

import json
import os
import signal

import pytest

from kinetics.files.atomic import CannotWriteError
from kinetics.results import journal as journal_module
from kinetics.results.journal import RowJournal, lock
from kinetics.results.store import read_result
from tests.support.dead_runs import in_child, reap


def document(*names):
    return {"schema": 1, "benchmarks": [{"name": name} for name in names]}


def test_every_row_is_on_disk_before_append_returns(tmp_path):
    journal = RowJournal(tmp_path / "run.json")
    journal.start({"schema": 1})
    for number in range(3):
        journal.append({"name": f"case{number}"})
        lines = [json.loads(line) for line in journal.path.read_text().splitlines()]
        assert [line["name"] for line in lines[1:]] == [f"case{one}" for one in range(number + 1)]
    assert lines[0]["document"] == {"schema": 1}


def test_every_row_is_synced_to_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    journal = RowJournal(tmp_path / "run.json")
    journal.start({"schema": 1})
    journal.append({"name": "a"})
    assert synced[-1] == journal.path.stat().st_size
    assert len(synced) == 2


def test_a_finished_journal_leaves_the_result_file_alone_in_its_folder(tmp_path):
    journal = RowJournal(tmp_path / "run.json")
    journal.start({"schema": 1})
    journal.append({"name": "a"})
    journal.finish(journal.result, document("a"))
    assert read_result(tmp_path / "run.json")["benchmarks"] == [{"name": "a"}]
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_runs_of_one_name_get_a_name_each(tmp_path):
    first, second, third = (RowJournal(tmp_path / "run.json") for _ in range(3))
    assert [one.result.name for one in (first, second, third)] == ["run.json", "run-2.json", "run-3.json"]
    for name, one in zip("abc", (first, second, third), strict=True):
        one.start({"schema": 1})
        one.append({"name": name})
        one.finish(one.result, document(name))
    found = {path.name: read_result(path)["benchmarks"][0]["name"] for path in tmp_path.iterdir()}
    assert found == {"run.json": "a", "run-2.json": "b", "run-3.json": "c"}


@pytest.mark.parametrize("taken", ["run.json", "run_partial.json", "run"])
def test_a_name_that_a_result_has_is_not_taken_again(tmp_path, taken):
    (tmp_path / taken).write_text("someone's")
    journal = RowJournal(tmp_path / "run.json")
    assert journal.result.name == "run-2.json"
    assert not (tmp_path / "run.journal.jsonl").exists()


def test_many_processes_that_start_at_once_lose_no_result(tmp_path):
    """As runs of two containers do, which have one process id."""
    gate, ready = os.pipe()

    def work():
        os.read(gate, 1)
        journal = RowJournal(tmp_path / "run.json")
        journal.start({"schema": 1})
        journal.append({"name": "x"})
        journal.finish(journal.result, document(str(os.getpid())))

    children = []
    for _ in range(12):
        if (pid := os.fork()) == 0:
            try:
                os.close(ready)
                work()
                os._exit(0)
            finally:
                os._exit(1)
        children.append(pid)
    os.close(ready)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 12
    os.close(gate)
    assert {read_result(path)["benchmarks"][0]["name"] for path in tmp_path.iterdir()} == {str(pid) for pid in children}
    assert len(list(tmp_path.iterdir())) == 12


def test_the_lock_is_free_as_soon_as_the_run_is_killed_reaped_or_not(tmp_path):
    pid = in_child(lambda: RowJournal(tmp_path / "run.json").start({}), ending=signal.SIGKILL)
    descriptor = os.open(tmp_path / "run.journal.jsonl", os.O_RDWR)
    assert lock(descriptor, waits=False)
    os.close(descriptor)
    reap(pid)


def test_a_name_removed_while_it_is_claimed_is_claimed_again(tmp_path, monkeypatch):
    """A start that recovers may take the lock of a journal that has just been made, and clear it away as empty."""
    removed = []

    def lock_late(descriptor, *, waits):
        if not removed:
            removed.append((tmp_path / "run.journal.jsonl").unlink())
        return lock(descriptor, waits=waits)

    monkeypatch.setattr(journal_module, "lock", lock_late)
    journal = RowJournal(tmp_path / "run.json")
    journal.start({"schema": 1})
    assert journal.path.read_text().endswith("\n")


def test_a_full_disk_costs_the_row_that_does_not_fit_and_no_other(tmp_path, monkeypatch):
    journal = RowJournal(tmp_path / "run.json")
    journal.start({"schema": 1})
    journal.append({"name": "a"})
    write = os.write

    def half_then_full(descriptor, data):
        if len(data) > 4:
            return write(descriptor, data[:4])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half_then_full)
    with pytest.raises(CannotWriteError, match=r"journal .*run.journal.jsonl cannot be written \(No space left"):
        journal.append({"name": "b"})
    monkeypatch.undo()
    journal.append({"name": "c"})
    assert [json.loads(line).get("name") for line in journal.path.read_text().splitlines()[1:]] == ["a", "c"]


def test_a_folder_that_takes_no_journal_is_named_in_one_line(tmp_path):
    with pytest.raises(CannotWriteError, match=r"journal beside .* cannot be written \(No such file"):
        RowJournal(tmp_path / "none" / "run.json")
