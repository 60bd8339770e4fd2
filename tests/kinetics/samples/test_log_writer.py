"""The log keeps whole samples, resumes exactly, and refuses what would mix runs."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys

import pytest

from kinetics.files.atomic import CannotWriteError
from kinetics.files.lines import DataFileError
from kinetics.samples.log_writer import LostWork, SampleLog

HEADER = {"kinetics_log": 1, "model": "m", "sampling": {"temperature": 0.6, "top_k": 20}, "versions": {"torch": "1"}}


def sample(name="a", trial=0, text="so \\boxed{1}\u2028\ud83d\ude00 \n"):
    return {
        "problem_id": name, "trial": trial, "seed": 3, "query": "q", "choices": ["1"], "prediction": [text],
        "score": 100.0, "answer": "1", "finish": "stop", "prompt_tokens": 4, "generated_tokens": 2, "decode_s": 0.5,
        "token_ids": [1, 2],
    }  # fmt: skip


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs" / "log.jsonl"


def test_samples_are_on_disk_when_append_returns(path):
    with SampleLog.create(path, HEADER) as log:
        assert lines(path) == [HEADER]
        log.append(sample())
        assert lines(path)[1]["token_ids"] == [1, 2]
        assert lines(path)[1]["score"] == 100.0


def test_a_log_that_is_there_is_never_overwritten(path):
    with SampleLog.create(path, HEADER) as log:
        log.append(sample())
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"log\.jsonl: must not exist yet, got a log there; --resume finishes it"):
        SampleLog.create(path, HEADER)
    assert path.read_bytes() == before


def test_resuming_finds_what_is_there_and_goes_on_behind_it(path):
    with SampleLog.create(path, HEADER) as log:
        log.append(sample("a", 0))
        log.append(sample("a", 1))
    with SampleLog.resume(path, HEADER) as log:
        assert log.done == {("a", 0), ("a", 1)}
        log.append(sample("b", 0))
    assert [(r["problem_id"], r["trial"]) for r in lines(path)[1:]] == [("a", 0), ("a", 1), ("b", 0)]


@pytest.mark.parametrize("kept", range(1, 80, 13))
def test_a_half_written_last_line_is_dropped_and_said_so(path, kept):
    with SampleLog.create(path, HEADER) as log:
        log.append(sample("a", 0))
    whole = path.read_bytes()
    cut = (json.dumps(sample("a", 1)) + "\n").encode()[:kept]
    path.write_bytes(whole + cut)
    with SampleLog.resume(path, HEADER) as log:
        assert log.done == {("a", 0)}
        assert f"cut after {kept} bytes" in log.remarks[0]
    assert path.read_bytes() == whole
    assert path.with_name("log.jsonl.remnant").read_bytes() == cut + b"\n"


def test_the_remnants_of_two_kills_are_both_kept(path):
    SampleLog.create(path, HEADER).__exit__(None, None, None)
    for cut in (b'{"problem_id": "a', b'{"prob'):
        with path.open("ab") as file:
            file.write(cut)
        SampleLog.resume(path, HEADER).__exit__(None, None, None)
    assert path.with_name("log.jsonl.remnant").read_bytes() == b'{"problem_id": "a\n{"prob\n'
    assert lines(path) == [HEADER]


FOREIGN = {
    "one line of JSON": b'{"name": "mine"}',
    "a whole line of JSON": b'{"name": "mine"}\n',
    "another program's log": b'{"name": "mine"}\n{"step": 1}\n{"step"',
    "text": b"a person's notes\nof two li",
    "one word": b"notes",
    "bytes": b"\xff\xfe\x00",
    "deep": b"[" * 10_000,
    "a list": b"[1, 2]\n[3",
    "a log of other settings": b'{"kinetics_log": 1, "model": "other"}\n{"problem_id": "a", "trial": 0}\n{"problem',
    "a log with a broken sample": json.dumps(HEADER).encode() + b'\n{"trial": 0}\n{"problem',
    "a log with a sample twice": json.dumps(HEADER).encode() + b'\n{"problem_id": "a", "trial": 0}' * 2 + b"\n{",
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_a_file_that_is_no_log_of_these_settings_stays_as_it_was(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"log\.jsonl") as refused:
        SampleLog.resume(path, HEADER)
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_a_log_is_cut_only_when_its_remnant_is_on_disk(path, monkeypatch):
    SampleLog.create(path, HEADER).__exit__(None, None, None)
    with path.open("ab") as file:
        file.write(b'{"problem_id": "a')
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(CannotWriteError, match=r"log\.jsonl\.remnant cannot be written \(No space left on device\)"):
        SampleLog.resume(path, HEADER)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b'{"kinetics_log": 1, "mo', b'{"kine', json.dumps(HEADER).encode()])
def test_a_log_killed_within_its_header_starts_anew(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with SampleLog.resume(path, HEADER) as log:
        assert log.done == frozenset()
    assert lines(path) == [HEADER]


def test_other_settings_are_refused_naming_the_first_that_differs(path):
    SampleLog.create(path, HEADER).__exit__(None, None, None)
    other = {**HEADER, "sampling": {"temperature": 0.7, "top_k": 20}}
    with pytest.raises(ValueError, match=r"sampling\.temperature must be 0\.6, got 0\.7; run with that, or .* --out"):
        SampleLog.resume(path, other)
    with pytest.raises(ValueError, match="seed must be None, got 3"):
        SampleLog.resume(path, {**HEADER, "seed": 3})
    with SampleLog.resume(path, {**HEADER, "versions": {"torch": "2"}}) as log:
        assert log.done == frozenset()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", r"log\.jsonl:2: line must be JSON"),
        ("[1]", r"log\.jsonl:2: line must be a JSON object, got list"),
        ('{"problem_id": "a"}', "must have problem_id and trial, got 'a' and None"),
    ],
)
def test_a_whole_line_that_is_no_sample_is_named(path, line, message):
    SampleLog.create(path, HEADER).__exit__(None, None, None)
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataFileError, match=message):
        SampleLog.resume(path, HEADER)


def test_a_sample_that_stands_there_twice_is_refused(path):
    with SampleLog.create(path, HEADER) as log:
        log.append(sample())
        log.append(sample())
    with pytest.raises(DataFileError, match="got a trial 0 in 2 too"):
        SampleLog.resume(path, HEADER)


def test_two_runs_cannot_write_one_log(path):
    with SampleLog.create(path, HEADER), pytest.raises(ValueError, match="one writer, got another run"):
        SampleLog.resume(path, HEADER)
    SampleLog.resume(path, HEADER).__exit__(None, None, None)


def test_a_full_disk_loses_the_sample_and_nothing_else(path, monkeypatch):
    with SampleLog.create(path, HEADER) as log:
        log.append(sample("a", 0))
        before, real, calls = path.read_bytes(), os.write, []

        def write(descriptor, data):
            calls.append(len(data))
            if len(calls) == 1:
                return real(descriptor, data[:20])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "write", write)
        with pytest.raises(LostWork, match=r"No space left on device.*make room and run again with --resume"):
            log.append(sample("a", 1))
        monkeypatch.undo()
        assert path.read_bytes() == before
        log.append(sample("a", 1))
    assert len(lines(path)) == 3


def test_a_real_full_disk_ends_the_same_way():
    code = (
        "from pathlib import Path; from kinetics.samples.log_writer import SampleLog, LostWork\n"
        "import os\n"
        "log = SampleLog(Path('/dev/full'), os.open('/dev/full', os.O_RDWR), done=frozenset(), remarks=())\n"
        "os.ftruncate = lambda *_: None\n"
        "try: log.append({'a': 1})\n"
        "except LostWork as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "No space left on device" in done.stdout


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(ValueError, match="cannot be made"):
        SampleLog.create(tmp_path / "runs" / "log.jsonl", HEADER)


def test_every_line_is_synced_whole_before_append_returns(path, monkeypatch):
    """What a computer holds in its memory is lost with its power."""
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(os.fstat(descriptor).st_size), real(descriptor)))
    with SampleLog.create(path, HEADER) as log:
        for number in range(3):
            assert synced[-1] == path.stat().st_size
            log.append(sample("a", number))
        assert synced[-1] == path.stat().st_size
    assert len(set(synced)) == 4


def test_a_pipe_is_refused_and_not_waited_for(path):
    path.parent.mkdir()
    os.mkfifo(path)
    with pytest.raises(DataFileError, match="must be a file, got a pipe or a device"):
        SampleLog.resume(path, HEADER)
    assert path.is_fifo()
