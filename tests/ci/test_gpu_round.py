"""A round on a GPU loses nothing: not to a stage that fails, hangs or is killed, nor to the end of its time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from kinetics.files.lines import DataFileError
from kinetics.results.publishing import read_publishable
from kinetics.results.store import read_result
from tests.support.dead_runs import kill_with_children, wait_until_unlocked
from tests.support.paths import ROOT
from tests.support.scripts import script

sys.path.insert(0, str(ROOT / "scripts"))
gpu_round, gpu_round_stages = script("gpu_round"), script("gpu_round_stages")
Stage = gpu_round_stages.Stage

WRITES = "import sys; open(sys.argv[1], 'a').write(sys.argv[2])"
HEEDS = "import time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    print('wrote what there was')"
DEAF = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"
FAMILY = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {DEAF!r}]); {DEAF}"


def stage(name, code, *words, limit_s=20.0, is_kept=False):
    return Stage(name=name, limit_s=limit_s, arguments=("-c", code, *words), is_kept=is_kept)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_round, "GRACE_S", 1.0)

    def go(*stages, deadline_s=60.0):
        one = gpu_round.Round(stages, out=tmp_path, name="part1", deadline_s=deadline_s, environment=dict(os.environ))
        return {ended.stage: ended for ended in one.run()}

    return go


def recorded(folder):
    return [json.loads(line) for line in (folder / "part1.jsonl").read_text().splitlines()]


def test_a_stage_that_fails_or_hangs_stops_no_other(run, tmp_path):
    found = run(
        stage("fails", "raise SystemExit(3)"),
        stage("hangs", HEEDS, limit_s=8.0),
        stage("is deaf", FAMILY, limit_s=8.0),
        stage("works", WRITES, str(tmp_path / "done"), "x"),
    )
    assert {name: ended.how for name, ended in found.items()} == {
        "fails": "failed", "hangs": "interrupted", "is deaf": "killed", "works": "finished",
    }  # fmt: skip
    assert found["fails"].exit_code == 3
    assert [line["stage"] for line in recorded(tmp_path)] == list(found)
    assert "wrote what there was" in (tmp_path / "part1.log").read_text()
    assert (tmp_path / "done").read_text() == "x"


def test_time_for_what_must_not_be_given_up_is_set_aside(run, tmp_path):
    found = run(
        stage("greedy", DEAF, limit_s=30.0),
        stage("given up", WRITES, str(tmp_path / "never"), "x"),
        stage("kept", WRITES, str(tmp_path / "done"), "x", limit_s=60.0, is_kept=True),
        deadline_s=66.0,
    )
    assert [found[name].how for name in ("greedy", "given up", "kept")] == ["killed", "skipped", "finished"]
    assert found["greedy"].limit_s <= 6.0


def test_the_same_command_goes_on_where_the_last_one_was_killed(run, tmp_path):
    first = stage("first", WRITES, str(tmp_path / "done"), "1")
    assert run(first, stage("second", "raise SystemExit(1)"))["second"].how == "failed"
    assert run(first, stage("second", WRITES, str(tmp_path / "done"), "2"))["second"].how == "finished"
    assert (tmp_path / "done").read_text() == "12"
    assert run(first) == {}


@pytest.mark.parametrize("device", ["cuda", "pretend"])
@pytest.mark.parametrize("part", gpu_round.PARTS)
def test_a_part_fits_ten_minutes_without_its_start_and_names_its_stages_once(tmp_path, part, device):
    stages = gpu_round_stages.stages_of(part, out=tmp_path, device=device)
    assert len({one.name for one in stages}) == len(stages)
    assert device == "pretend" or sum(one.limit_s for one in stages) <= 560
    assert stages[-1].is_kept
    pretending = [one for one in stages if gpu_round_stages.PRETEND_PLUGIN in one.arguments]
    assert bool(pretending) == (device == "pretend")


def test_the_rivals_are_providers_and_the_device_tests_are_files():
    from kinetics_kernels.providers import provider_names

    assert set(gpu_round_stages.RIVALS.split(",")) <= set(provider_names())
    assert all((ROOT / name).is_file() for name in gpu_round_stages._DEVICE_TESTS)


@pytest.fixture(scope="module")
def pretended(tmp_path_factory):
    """What part 1 leaves on a pretend device."""
    out = tmp_path_factory.mktemp("round")
    command = [sys.executable, "scripts/gpu_round.py", "--device", "pretend", "--part", "1", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=590)
    return out, done


@pytest.mark.slow
def test_every_stage_of_the_first_part_works_on_a_pretend_device(pretended):
    out, done = pretended
    lines = [json.loads(line) for line in (out / "pretend_part1.jsonl").read_text().splitlines()]
    assert {line["stage"]: line["how"] for line in lines} == dict.fromkeys(
        [one.name for one in gpu_round_stages.stages_of(1, out=out, device="pretend")], "finished"
    ), (out / "pretend_part1.log").read_text()[-5000:] + done.stdout
    assert done.returncode == 0


@pytest.mark.slow
def test_it_leaves_few_files_that_say_they_are_pretend_and_cannot_be_published(pretended):
    out, _ = pretended
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) <= 8
    assert max(path.stat().st_size for path in files) < 16 * 2**20
    results = [path for path in files if path.suffix == ".json"]
    assert len(results) == 2
    for path in results:
        assert read_result(path)["machine_info"]["is_pretend"] is True
        with pytest.raises(DataFileError, match="pretend device"):
            read_publishable(path)
    findings = [json.loads(line) for line in (out / "findings.jsonl").read_text().splitlines()]
    assert {line["kind"] for line in findings} == {"pretend"}
    assert {line["stage"] for line in findings} == {"facts", "ceilings", "event pair", "a against a", "sweep"}


@pytest.mark.slow
@pytest.mark.parametrize("num_rows", [1, 6])
def test_a_round_that_is_killed_loses_no_row_and_doubles_none(tmp_path, num_rows):
    command = [sys.executable, "scripts/gpu_round.py", "--device", "pretend", "--part", "1", "--out", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL)
    while (before := rows_on_disk(tmp_path)) < num_rows:
        assert process.poll() is None, (tmp_path / "pretend_part1.log").read_text()[-5000:]
        time.sleep(0.05)
    kill_with_children(process)
    wait_until_unlocked(tmp_path)
    recover = [sys.executable, "-m", "kinetics", "recover", str(tmp_path / "runs")]
    subprocess.run(recover, cwd=ROOT, check=True)
    found = [row["name"] for path in (tmp_path / "runs").rglob("*.json") for row in read_result(path)["benchmarks"]]
    assert len(found) >= before
    assert len(set(found)) == len(found)
    assert not list(tmp_path.rglob("*.journal.jsonl*"))


def rows_on_disk(folder):
    """Finished rows of runs in progress: the lines of their journals but the header."""
    return sum(max(0, path.read_text().count("\n") - 1) for path in folder.rglob("*.journal.jsonl"))
