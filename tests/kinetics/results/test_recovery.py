"""What killed runs left becomes result files: every row once, nothing of a living run, nothing of a stranger lost."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinetics.files.atomic import CannotWriteError
from kinetics.results import journal as journal_module
from kinetics.results import recovery
from kinetics.results.journal import JOURNAL_SUFFIX, RowJournal
from kinetics.results.recovery import recover_journals
from kinetics.results.store import SCHEMA, read_result
from tests.support.dead_runs import in_child, killed_run, old_journal, reap

ROWS = [{"name": f"case{number}", "extra_info": {}} for number in range(3)]


def completion(document):
    document["completed"] = True


def completion_of_the_gate(document):
    """Moves the rows elsewhere, as the gate does."""
    document["runs"], document["benchmarks"] = document["benchmarks"], []


def names(path):
    return [row["name"] for row in read_result(path)["benchmarks"]]


def recovered_once(folder, complete=completion):
    """The only thing that is recovered, and that a second start finds nothing more."""
    (made,) = recover_journals(folder, complete=complete)
    assert recover_journals(folder, complete=complete) == []
    return made


@pytest.mark.parametrize("is_reaped", [True, False], ids=["gone", "waits to be reaped"])
def test_rows_of_a_killed_run_become_a_result_file(tmp_path, is_reaped):
    pid = killed_run(tmp_path / "run.json", ROWS)
    if is_reaped:
        reap(pid)
    with (tmp_path / "run.journal.jsonl").open("a") as journal:
        journal.write('{"name": "half a li')
    made = recovered_once(tmp_path)
    document = read_result(made.path)
    assert made.path.name == "run_partial.json"
    assert made.problem is None
    assert names(made.path) == ["case0", "case1", "case2"]
    assert document["is_partial"]
    assert document["completed"]
    assert [path.name for path in tmp_path.iterdir()] == ["run_partial.json"]
    if not is_reaped:
        reap(pid)


def test_a_journal_of_a_version_without_locks_is_recovered_once_its_process_is_gone(tmp_path):
    old_journal(tmp_path, ROWS)
    assert names(recovered_once(tmp_path).path) == ["case0", "case1", "case2"]


def test_a_process_that_waits_to_be_reaped_is_gone_without_a_lock_too(tmp_path):
    pid = in_child(lambda: None, ending=signal.SIGKILL)
    assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    old_journal(tmp_path, ROWS, pid=pid, process_started=psutil.Process(pid).create_time())
    assert len(names(recovered_once(tmp_path).path)) == 3
    reap(pid)


def test_a_living_run_without_a_lock_is_left_alone(tmp_path):
    path = old_journal(tmp_path, ROWS, pid=os.getpid(), process_started=psutil.Process().create_time())
    before = path.read_bytes()
    assert recover_journals(tmp_path, complete=completion) == []
    assert path.read_bytes() == before


def test_the_journal_of_a_living_run_is_left_alone_whatever_its_process_id_says(tmp_path):
    """The id is another container's, where it means another process, or none."""
    journal = RowJournal(tmp_path / "run.json")
    journal.start({"schema": SCHEMA})
    journal.append(ROWS[0])
    text = journal.path.read_text()
    with journal.path.open("r+") as file:
        file.write(text.replace(f'"pid": {os.getpid()}', f'"pid": {"9" * len(str(os.getpid()))}'))
    assert recover_journals(tmp_path, complete=completion) == []
    assert journal.path.exists()


def test_a_dead_run_is_recovered_although_its_process_id_lives(tmp_path):
    """As after a container starts again: its first process is always number one."""
    reap(killed_run(tmp_path / "run.json", ROWS))
    path = tmp_path / "run.journal.jsonl"
    header, *rest = path.read_text().splitlines()
    mine = json.loads(header) | {"pid": os.getpid(), "process_started": psutil.Process().create_time()}
    path.write_text("\n".join([json.dumps(mine), *rest]) + "\n")
    assert len(names(recovered_once(tmp_path).path)) == 3


def test_a_claimed_name_without_a_row_is_cleared_away_once_its_run_is_gone(tmp_path):
    living = RowJournal(tmp_path / "run.json")
    assert recover_journals(tmp_path, complete=completion) == []
    assert living.path.exists()
    living.discard()
    reap(in_child(lambda: RowJournal(tmp_path / "run.json") and None))
    assert recover_journals(tmp_path, complete=completion) == []
    assert not list(tmp_path.iterdir())


@pytest.fixture
def without_locks(monkeypatch):
    """A file system that knows none."""

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("without_locks")
def test_without_locks_a_living_run_is_known_by_its_process(tmp_path):
    journal = RowJournal(tmp_path / "run.json")
    assert recover_journals(tmp_path, complete=completion) == []
    assert journal.path.exists(), "it may be about to write"
    journal.start({"schema": SCHEMA})
    journal.append(ROWS[0])
    assert recover_journals(tmp_path, complete=completion) == []
    reap(killed_run(tmp_path / "dead.json", ROWS))
    made = recovered_once(tmp_path)
    assert made.path.name == "dead_partial.json"
    assert journal.path.exists()


def test_a_completion_that_moves_the_rows_still_makes_a_file(tmp_path):
    old_journal(tmp_path, ROWS)
    assert read_result(recovered_once(tmp_path, completion_of_the_gate).path)["runs"] == ROWS


def test_a_journal_of_another_version_is_put_aside_and_stops_nobody(tmp_path):
    old_journal(tmp_path, ROWS)

    def complete(document):
        document["a field of another version"]

    aside = recovered_once(tmp_path, complete)
    assert aside.path.name == "run.journal.jsonl.unreadable"
    assert not aside.is_result
    assert '"name": "case2"' in aside.path.read_text()


def test_one_row_of_another_version_costs_no_other(tmp_path):
    old_journal(tmp_path, [ROWS[0], {"name": "strange"}, ROWS[2]])

    def complete(document):
        for row in document["benchmarks"]:
            row["extra_info"]["completed"] = True

    made = recovered_once(tmp_path, complete)
    assert names(made.path) == ["case0", "case2"]
    assert "1 line of its journal could not be read" in made.problem
    assert '"strange"' in (tmp_path / "run.journal.jsonl.unreadable").read_text()


FOREIGN = {
    "text": b"a person's notes\n",
    "a number": b'5\n{"name": "x"}\n',
    "an object": b'{"name": "x"}\n',
    "a header without a process": b'{"document": {}, "result": "run.json"}\n{"name": "x"}\n',
    "a process in words": b'{"pid": "4711", "process_started": 1.0, "result": "run.json", "document": {}}\n{}\n',
    "a list for a document": b'{"pid": 1073741824, "process_started": 1, "result": "run.json", "document": []}\n{}\n',
    "deep": b"[" * 100_000 + b"\n",
    "a deep header": b'{"pid": 1073741824, "process_started": 1, "document": ' + b'{"a":' * 5000 + b"1\n",
    "bytes": b"\xff\xfe\x00\x01" * 50,
    "a cut gzip file": b"\x1f\x8b\x08\x00\x00",
    "no newline": b"{",
    "a long number": b"9" * 5000 + b"\n",
    "blank lines": b"\n\n\n",
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_journal_of_ours_is_put_aside_with_every_byte(tmp_path, content):
    (tmp_path / f"run{JOURNAL_SUFFIX}").write_bytes(content)
    aside = recovered_once(tmp_path)
    assert aside.path.read_bytes() == content
    assert aside.path.name == f"run{JOURNAL_SUFFIX}.unreadable"
    assert aside.problem
    assert "\n" not in str(aside)


def test_what_is_put_aside_replaces_nothing(tmp_path):
    for content in ("one", "two", "three"):
        (tmp_path / f"run{JOURNAL_SUFFIX}").write_text(content)
        recovered_once(tmp_path)
    assert {path.read_text() for path in tmp_path.iterdir()} == {"one", "two", "three"}


def test_a_byte_order_mark_costs_no_row(tmp_path):
    path = old_journal(tmp_path, ROWS)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    made = recovered_once(tmp_path)
    assert names(made.path) == ["case0", "case1", "case2"]
    assert made.problem is None


@pytest.mark.parametrize(
    "line", [b'{"name": "cut', b"[]", b"\xff\xfe", b'{"a":' * 3000, b"\x00" * 40, b'{"a": 1, "a": 2}']
)
def test_a_broken_line_in_the_middle_costs_that_line_alone(tmp_path, line):
    path = old_journal(tmp_path, ROWS)
    header, first, *rest = path.read_bytes().splitlines(keepends=True)
    content = b"".join([header, first, line + b"\n", *rest])
    path.write_bytes(content)
    made = recovered_once(tmp_path)
    assert names(made.path) == ["case0", "case1", "case2"]
    assert "1 line of its journal could not be read" in made.problem
    assert (tmp_path / "run.journal.jsonl.unreadable").read_bytes().startswith(content)


@pytest.mark.parametrize("kind", ["dangling link", "link", "folder", "pipe", "socket"])
def test_what_is_no_file_is_not_touched(tmp_path, monkeypatch, kind):
    path, elsewhere = tmp_path / f"run{JOURNAL_SUFFIX}", tmp_path / "elsewhere"
    if kind == "folder":
        (path / "inner").mkdir(parents=True)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(tmp_path)  # the whole path is too long for one
        socket.socket(socket.AF_UNIX).bind(path.name)
    else:
        path.symlink_to(elsewhere)
    if kind == "link":
        elsewhere.write_text("someone's\n")
    before = path.lstat()
    other = old_journal(tmp_path, ROWS, name="other")
    assert len(names(recovered_once(tmp_path).path)) == 3
    assert path.lstat() == before
    assert not other.exists()


def test_a_recovered_file_replaces_no_other(tmp_path):
    (tmp_path / "run_partial.json").write_text("someone's")
    old_journal(tmp_path, ROWS)
    assert recovered_once(tmp_path).path.name == "run_partial-2.json"
    assert (tmp_path / "run_partial.json").read_text() == "someone's"


def test_a_journal_that_cannot_be_opened_is_named_and_stops_no_other(tmp_path, monkeypatch):
    old_journal(tmp_path, ROWS, name="a")
    old_journal(tmp_path, ROWS, name="b")
    real = os.open

    def refuse(path, *rest, **options):
        if str(path).endswith(f"/a{JOURNAL_SUFFIX}"):
            raise PermissionError(13, "Permission denied")
        return real(path, *rest, **options)

    monkeypatch.setattr(os, "open", refuse)
    refused, made = recover_journals(tmp_path, complete=completion)
    assert "Permission denied" in str(refused)
    assert not refused.is_result
    assert made.path.name == "b_partial.json"


def test_a_full_disk_leaves_the_journal_to_a_later_start(tmp_path, monkeypatch):
    path = old_journal(tmp_path, ROWS)

    def full(path, text):
        raise CannotWriteError(f"file {path} cannot be written (No space left on device); choose another file")

    monkeypatch.setattr(recovery, "write_text", full)
    (left,) = recover_journals(tmp_path, complete=completion)
    assert left.path == path
    assert "No space left" in str(left)
    monkeypatch.undo()
    assert names(recovered_once(tmp_path).path) == ["case0", "case1", "case2"]


@pytest.mark.parametrize("target", ["result", "elsewhere"])
def test_a_run_killed_between_its_file_and_its_journal_has_its_rows_once(tmp_path, target):
    (tmp_path / "out").mkdir()

    def work():
        journal = RowJournal(tmp_path / "run.json")
        journal.start({"schema": SCHEMA})
        for row in ROWS:
            journal.append(row)
        journal.discard = lambda: os.kill(os.getpid(), signal.SIGKILL)
        path = journal.result if target == "result" else tmp_path / "out" / "mine.json"
        journal.finish(path, {"schema": SCHEMA, "benchmarks": ROWS})

    reap(in_child(work))
    assert (tmp_path / "run.journal.jsonl").exists()
    assert recover_journals(tmp_path, complete=completion) == []
    (result,) = tmp_path.rglob("*.json*")
    assert names(result) == ["case0", "case1", "case2"]


@pytest.mark.parametrize("there", [None, "an earlier run's"])
def test_a_run_killed_before_its_file_was_there_has_its_rows_once(tmp_path, there):
    out = tmp_path / "out.txt"
    if there:
        out.write_text(there)

    def work():
        journal = RowJournal(tmp_path / "run.json")
        journal.start({"schema": SCHEMA})
        journal.append(ROWS[0])
        journal_module.write_text = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        journal.finish(out, {"schema": SCHEMA, "benchmarks": ROWS[:1]})

    reap(in_child(work))
    assert names(recovered_once(tmp_path).path) == ["case0"]
    assert there is None or out.read_text() == there


@pytest.mark.parametrize("moment", ["write_text", "_drop"])
def test_a_recovery_that_is_killed_is_recovered_once(tmp_path, moment):
    old_journal(tmp_path, ROWS)

    def work():
        setattr(recovery, moment, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        recover_journals(tmp_path, complete=completion)

    reap(in_child(work))
    made = recover_journals(tmp_path, complete=completion)
    assert len(made) == (1 if moment == "write_text" else 0)
    (result,) = tmp_path.glob("*.json*")
    assert names(result) == ["case0", "case1", "case2"]


def test_what_a_killed_run_had_half_written_is_cleared_away_and_is_no_result(tmp_path):
    def work():
        journal = RowJournal(tmp_path / "run.json")
        journal.start({"schema": SCHEMA})
        journal.append(ROWS[0])
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        journal.finish(journal.result, {"schema": SCHEMA, "benchmarks": ROWS[:1]})

    others = tmp_path / ".run-2.1-abcdef01.partial"
    others.write_text("of a run that is going on")
    reap(in_child(work))
    assert len(list(tmp_path.glob(".run.*.partial"))) == 1
    assert not list(tmp_path.glob("*.json"))
    assert names(recovered_once(tmp_path).path) == ["case0"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [others.name, "run_partial.json"]


def test_many_starts_beside_stale_journals_recover_each_once_and_none_fails(tmp_path):
    for number in range(20):
        old_journal(tmp_path, ROWS, name=f"run{number:02}")
    barrier, made = threading.Barrier(4), []

    def start():
        barrier.wait()
        made.append(recover_journals(tmp_path, complete=completion))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.path.name for found in made for one in found) == [
        f"run{one:02}_partial.json" for one in range(20)
    ]
    assert not list(tmp_path.glob(f"*{JOURNAL_SUFFIX}*"))


@settings(max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 400))
def test_wherever_a_journal_is_cut_the_rows_before_stay(tmp_path, cut):
    path = old_journal(tmp_path, ROWS)
    content = path.read_bytes()[:cut]
    num_whole = max(0, content.count(b"\n") - 1)
    path.write_bytes(content)
    found = recover_journals(tmp_path, complete=completion)
    rows = [name for one in found if one.is_result for name in names(one.path)]
    assert rows[:num_whole] == [row["name"] for row in ROWS][:num_whole]
    for left in tmp_path.iterdir():
        left.unlink()


def test_the_command_says_what_it_could_not_read_and_ends_with_1(tmp_path):
    old_journal(tmp_path, ROWS)
    (tmp_path / f"notes{JOURNAL_SUFFIX}").write_text("a person's\n")
    command = [sys.executable, "-m", "kinetics", "recover", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"files": [str(tmp_path / "run_partial.json")]}
    (line,) = done.stderr.splitlines()
    assert "notes.journal.jsonl.unreadable: a journal that cannot be read was put aside" in line
