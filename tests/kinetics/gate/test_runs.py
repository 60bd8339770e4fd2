"""The gate from outside, against a fake suite whose kernels do as planted: verdicts, exit codes, what survives."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from kinetics.cli.main import app
from kinetics.gate import process, runs, watch
from kinetics.gate.checkout import checked_out
from kinetics.gate.gate_file import read_gate_file
from kinetics.gate.tables import remarks
from kinetics.results import journal
from tests.support.fake_checkout import behave, git
from tests.support.paths import ROOT

SMOKE = ["--device", "cpu", "--grid", "smoke", "--launches", "20"]
TIMED = [*SMOKE, "--time-all"]
DENSE, SPARSE = "dense-ours-qwen3_8b-b1-c512-p16", "block_topk-ours-qwen3_8b-b1-c1k-k256-p16"

pytestmark = pytest.mark.usefixtures("calm")


@pytest.fixture
def kinetics(repository, monkeypatch):
    """Runs the command in the repository."""
    monkeypatch.chdir(repository)

    def run(*arguments):
        return CliRunner().invoke(app, [*arguments])

    return run


@pytest.fixture
def gate(kinetics, repository, monkeypatch):
    """Times every case against HEAD; returns the exit code, the verdicts by case, and the document."""
    monkeypatch.setattr(runs, "instructions", lambda *_arguments: {})  # there is no kernel to count them of

    def run(*arguments):
        done = kinetics("gate", "--base", "HEAD", *TIMED, "--json", *arguments)
        assert done.stdout, done
        document = json.loads(done.stdout)
        return done.exit_code, {row["case"]: row["verdict"] for row in document["verdicts"]}, document

    return run


def test_a_planted_slow_down_is_slow_at_two_runs_of_looks_and_exits_1(gate, repository, tmp_path):
    behave(repository, seconds=1.5e-3)
    code, verdicts, document = gate("--markdown", str(tmp_path / "verdicts.md"), "--bmf", str(tmp_path / "bmf.json"))
    assert code == 1
    measures = json.loads((tmp_path / "bmf.json").read_text())[DENSE]
    assert 1.3 < measures["ratio-to-base"]["lower_value"] < measures["ratio-to-base"]["value"] < 1.7
    assert 1.4e6 < measures["latency"]["value"] < 1e8
    assert verdicts == {DENSE: "SLOW", SPARSE: "SLOW"}
    row = document["verdicts"][0]
    assert 1.3 < row["ratio"] < 1.7
    assert row["num_launches"] >= 8
    assert {(run["launch"] % 2, run["first_side"]) for run in document["runs"]} == {(0, "base"), (1, "candidate")}
    assert all(len(run["block_log_ratios"]["candidate"]) == 3 for run in document["runs"])
    table = (tmp_path / "verdicts.md").read_text()
    assert f"| {DENSE} | SLOW |" in table
    assert "2 SLOW" in table


def test_a_planted_speed_up_is_fast_and_identical_code_is_not_slow(gate, repository):
    behave(repository, seconds=0.5e-3)
    code, verdicts, _ = gate()
    assert (code, set(verdicts.values())) == (0, {"FAST"})
    behave(repository)
    code, verdicts, document = gate()
    assert (code, set(verdicts.values()) <= {"SAME", "AMBIGUOUS"}) == (0, True)
    assert document["settings"]["rule"] == "sequential-1"


def test_unchanged_code_is_same_without_being_timed_and_changed_code_is_timed(kinetics, repository):
    def judged():
        done = kinetics("gate", "--base", "HEAD", *SMOKE, "--json")
        assert done.stdout, done
        return done.exit_code, json.loads(done.stdout)

    door = repository / "kinetics" / "measure" / "prepared_case.py"
    door.write_text('"""The door."""\n' + door.read_text() + "\n# A remark.\n")
    code, document = judged()
    assert (code, document["runs"]) == (0, [])
    assert {(row["verdict"], row["reason"]) for row in document["verdicts"]} == {("SAME", "same code, not timed")}
    door.write_text(door.read_text().replace("1e-7", "2e-7"))
    _, document = judged()
    assert {one["differing"][0] for one in document["identity"].values()} == {"python kinetics.measure.prepared_case"}
    assert {run["case"] for run in document["runs"]} == {DENSE, SPARSE}
    assert f"Timed: {DENSE}, {SPARSE}; not the same code: python kinetics.measure" in "\n".join(remarks(document))


def test_a_base_of_which_no_fingerprint_can_be_made_is_timed_and_says_so_in_one_line(kinetics, repository):
    door = repository / "kinetics" / "measure" / "prepared_case.py"
    honest = door.read_text()
    refusal = "    if sys.getprofile():\n        raise ValueError('not while watched')\n"
    watchful = honest.replace("    operation = spec", f"{refusal}    operation = spec").replace(
        "import json", "import sys, json"
    )
    door.write_text(watchful)
    git(repository, "commit", "-qam", "dislike being watched")
    door.write_text(honest)
    done = kinetics("gate", "--base", "HEAD", *SMOKE, "--json")
    document = json.loads(done.stdout)
    reason = "the base gives no fingerprint: ValueError: not while watched"
    assert {one["reason"] for one in document["identity"].values()} == {reason}
    assert {run["case"] for run in document["runs"]} == {DENSE, SPARSE}


def test_a_wrong_result_is_wrong_however_fast_and_exits_1(gate, repository):
    behave(repository, seconds=0.5e-3, wrong=["dense"])
    code, verdicts, document = gate()
    assert (code, verdicts[DENSE], verdicts[SPARSE]) == (1, "WRONG", "FAST")
    assert document["verdicts"][0]["reason"] == "candidate: AssertionError: output is wrong by 0.5"
    assert sum(run["case"] == DENSE for run in document["runs"]) == 1


def test_a_time_that_the_measured_ceiling_rules_out_is_invalid(gate, repository):
    behave(repository, num_bytes=2**40)
    code, verdicts, document = gate()
    assert (code, set(verdicts.values())) == (3, {"INVALID"})
    assert "faster than its work allows" in document["verdicts"][0]["reason"]


def test_what_only_one_side_can_run_is_new_or_missing(gate, repository):
    behave(repository, unable=["dense"])
    code, verdicts, _ = gate()
    assert (code, verdicts[DENSE]) == (1, "MISSING")
    git(repository, "commit", "-qam", "lose the dense kernel")
    behave(repository)
    code, verdicts, document = gate()
    assert (code, verdicts[DENSE]) == (0, "NEW")
    assert "base: ValueError: no such kernel" in document["verdicts"][0]["reason"]


def test_a_base_that_computes_wrongly_makes_the_mended_case_new(gate, repository):
    behave(repository, wrong=["dense", "block_topk"])
    git(repository, "commit", "-qam", "break everything")
    behave(repository)
    code, verdicts, _ = gate()
    assert (code, set(verdicts.values())) == (3, {"NEW"})  # nothing was compared


def test_a_candidate_that_dies_twice_at_a_case_is_wrong_and_exits_1(gate, repository):
    behave(repository, die_at=10)
    code, verdicts, document = gate()
    assert (code, verdicts) == (1, {DENSE: "WRONG", SPARSE: "WRONG"})
    assert document["lost"] is None
    assert document["verdicts"][0]["reason"] == (
        "candidate: the candidate worker died at 'run' (exit code 7; last words: a library that talks on stdout), "
        "in two launches"
    )


def test_a_call_that_fails_in_mid_round_twice_is_wrong(gate, repository):
    behave(repository, raise_at=10)
    code, verdicts, document = gate()
    assert (code, set(verdicts.values())) == (1, {"WRONG"})
    assert "the candidate worker lost its device at 'run': RuntimeError: CUDA error" in str(document["verdicts"])


def test_a_case_that_breaks_the_device_is_wrong_and_the_others_are_judged(gate, repository):
    behave(repository, breaks_device=["dense"])
    code, verdicts, document = gate()
    assert (code, verdicts[DENSE]) == (1, "WRONG")
    assert verdicts[SPARSE] in ("SAME", "AMBIGUOUS")
    assert "CUDA error: device-side assert triggered, in two launches" in document["verdicts"][0]["reason"]


def test_a_base_that_dies_and_memory_that_runs_out_are_nobodys_verdict(gate, repository):
    behave(repository, out_of_memory=["dense"])
    code, verdicts, document = gate()
    assert (code, set(verdicts.values())) == (3, {"INVALID"})
    assert "the candidate worker lost its device at 'prepare': MemoryError" in document["lost"]
    behave(repository, die_at=10)
    git(repository, "commit", "-qam", "die")
    behave(repository)
    code, _, document = gate()
    assert code == 3
    assert document["lost"].startswith("the base worker died at 'run' (exit code 7")
    assert document["is_partial"]


def test_a_worker_that_hangs_is_given_up_and_never_left_behind(gate, repository, monkeypatch):
    monkeypatch.setattr(process, "RUN_TIMEOUT_S", 1.0)
    children, start = [], process.subprocess.Popen

    def remembered(*arguments, **options):
        children.append(start(*arguments, **options))
        return children[-1]

    monkeypatch.setattr(process.subprocess, "Popen", remembered)
    behave(repository, hang_at=10)
    code, _, document = gate()
    assert code == 1
    assert "the candidate worker did not answer 'run' within 1 s, in two launches" in document["verdicts"][0]["reason"]
    assert len(children) > 3
    assert all(child.poll() is not None for child in children)


def test_a_case_that_was_finished_before_the_loss_keeps_its_record(gate, repository, monkeypatch):
    """The second case dies, on both sides; the first one's record of that launch is in the file."""
    text = (repository / "kinetics" / "measure" / "prepared_case.py").read_text()
    doomed = text.replace('if number == DOES["die_at"]', 'if number == 9 and operation == "block_topk"')
    (repository / "kinetics" / "measure" / "prepared_case.py").write_text(doomed)
    git(repository, "commit", "-qam", "die at the second case")
    code, _, document = gate()
    assert code == 3
    assert [(run["case"], run["launch"]) for run in document["runs"]] == [(DENSE, 0)]


def test_disturbed_launches_are_taken_again_but_not_for_ever(gate, monkeypatch):
    monkeypatch.setattr(watch, "MAX_OTHERS_CPU_SHARE", -1.0)
    code, verdicts, document = gate()
    assert (code, set(verdicts.values())) == (3, {"INVALID"})
    assert document["verdicts"][0]["reason"].startswith("0 of 8 launches count, 3 are needed: other programs took")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["gate"], "either --base REVISION or --baseline-file FILE"),
        (["gate", "--base", "HEAD", "--baseline-file", "x.json"], "either --base REVISION or --baseline-file FILE"),
        (["gate", "--base", "no-such-branch"], "must name a commit .* got 'no-such-branch'; fetch it first"),
        (["gate", "--base", "--help-me"], "must name a commit"),
        (["gate", "--base", "HEAD", "--launches", "3"], "--launches must be at least 4, got 3"),
        (["gate", "--base", "HEAD", "--minutes", "0"], "--minutes must be above 0 and below 10000"),
        (["gate", "--base", "HEAD", "--minutes", "nan"], "--minutes must be above 0 and below 10000"),
        (
            ["gate", "--baseline-file", "x.json", "--minutes", "5"],
            "--minutes .* must stand beside --base|beside --base",
        ),
        (["gate", "--base", "HEAD", "--grid", "huge"], "--grid must be one of gate, smoke, got 'huge'"),
        (["gate", "--base", "HEAD", "--device", "cuda"], "cannot measure on cuda: .*--device must be cpu"),
        (["gate", "--baseline-file", "x.json"], "x.json: cannot be read"),
        (["aa", "--launches", "9"], "--launches must be at least 10, got 9"),
        (["gate", "--base", "HEAD", "--out", "kinetics"], "file kinetics cannot be written"),
        (["aa", "--markdown", "kinetics"], "file kinetics cannot be written"),
        (["aa", "--markdown", "kinetics/__init__.py/x.md"], "file kinetics/__init__.py/x.md cannot be written"),
    ],
)
def test_a_usage_that_cannot_work_is_refused_in_one_line(kinetics, arguments, complaint):
    done = kinetics(*arguments)
    assert done.exit_code == (3 if "cannot be" in complaint else 2), done
    assert re.search(complaint, done.stderr)
    assert done.stderr.splitlines()[-1].startswith("kinetics: ")


def test_outside_a_checkout_the_gate_says_what_to_do(kinetics, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = kinetics("gate", "--base", "HEAD")
    assert "must run inside a git checkout" in done.stderr


def test_a_base_that_is_too_old_is_one_line_and_exit_3(kinetics, repository):
    (repository / "kinetics" / "measure" / "prepared_case.py").unlink()
    git(repository, "commit", "-qam", "an age without devices")
    git(repository, "checkout", "-q", "HEAD~1", "--", ".")
    done = kinetics("gate", "--base", "HEAD", *SMOKE)
    assert done.exit_code == 3
    assert "is too old for this gate: ValueError: a revision must have" in done.stderr


def test_a_self_test_stores_what_later_gates_go_by(kinetics, gate, repository):
    done = kinetics("aa", *SMOKE[:-1], "10", "--json")
    assert done.exit_code == 0
    document = read_gate_file(repository / "runs" / "cpu-fake" / "gate" / "aa-smoke.json")
    tests = {row["case"]: row for row in document["self_tests"]}
    assert set(tests) == {DENSE, SPARSE}
    assert tests[DENSE]["confirmed_false_alarms"] <= 0.05
    _, _, judged = gate()
    assert judged["cases"][0]["budget"] == 0.25
    assert judged["cases"][0]["residual_band"] == tests[DENSE]["residual_band"]


def test_stored_files_find_a_slow_down_and_refuse_another_machine(kinetics, repository, tmp_path):
    kinetics("aa", *SMOKE[:-1], "10")
    stored = repository / "runs" / "cpu-fake" / "gate" / "aa-smoke.json"
    behave(repository, seconds=20e-3)  # memory read between the calls swings, and with it the units
    done = kinetics("gate", "--baseline-file", str(stored), *SMOKE[:-1], "3", "--json")
    assert done.exit_code == 1
    assert {row["verdict"] for row in json.loads(done.stdout)["verdicts"]} == {"SLOW"}
    other = json.loads(stored.read_text())
    other["machine_info"]["torch_threads"] = 16
    (tmp_path / "other.json").write_text(json.dumps(other))
    done = kinetics("gate", "--baseline-file", str(tmp_path / "other.json"), *SMOKE[:-1], "3", "--json")
    assert done.exit_code == 3
    row = json.loads(done.stdout)["verdicts"][0]
    assert (row["verdict"], row["reason"]) == ("INCOMPARABLE", "threads: 2, 16")


def heed_ctrl_c():
    """A shell has what it starts in the background ignore Ctrl-C, and its children with it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def started_gate(repository):
    """A gate in a process of its own that is busy with its second case."""
    start = (
        "from kinetics.gate import until_decided, watch; watch.MAX_OTHERS_CPU_SHARE = 2.0; "
        "until_decided.is_open = lambda *case: True; from kinetics.cli.main import main; main()"
    )
    arguments = [sys.executable, "-P", "-c", start, "gate", "--base", "HEAD", "--time-all", *SMOKE[:-1], "200"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'kernels'}"}
    running = subprocess.Popen(
        arguments, cwd=repository, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c
    )
    folder = repository / "runs" / "cpu-fake" / "gate"
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        if any(path.read_text().count("\n") > 8 for path in folder.glob("*.journal.jsonl")):
            return running, folder
        time.sleep(0.1)
    running.kill()
    raise AssertionError("the gate never got to its second launch")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_gate_judges_and_writes_what_it_has(repository, number):
    running, folder = started_gate(repository)
    running.send_signal(number)
    _, stderr = running.communicate(timeout=240)
    assert running.returncode == 130, stderr
    (path,) = folder.glob("*.json")
    document = read_gate_file(path)
    assert document["lost"] == "interrupted"
    assert len(document["runs"]) >= 6
    assert git(repository, "worktree", "list").count("\n") == 0


def test_of_two_self_tests_at_once_none_is_lost(kinetics, repository, monkeypatch):
    folder, until_lost = repository / "runs" / "cpu-fake" / "gate", runs.until_lost

    def while_another_ends(measure):
        lost = until_lost(measure)
        (folder / "aa-smoke.json").write_text("another's")
        return lost

    monkeypatch.setattr(runs, "until_lost", while_another_ends)
    done = kinetics("aa", *SMOKE[:-1], "10")
    assert done.exit_code == 0, done.stderr
    assert (folder / "aa-smoke.json").read_text() == "another's"
    (mine,) = [path for path in folder.glob("*.json") if path.name != "aa-smoke.json"]
    assert read_gate_file(mine)["self_tests"]
    assert str(mine) in done.stderr


def test_a_full_disk_ends_a_gate_in_one_line_and_keeps_its_evidence(kinetics, repository, monkeypatch):
    left, write_all = [3], journal.write_all

    def full(descriptor, data):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        write_all(descriptor, data)

    monkeypatch.setattr(journal, "write_all", full)
    done = kinetics("gate", "--base", "HEAD", *TIMED)
    assert done.exit_code == 3
    assert "cannot be written (No space left on device); 2 finished rows are safe in" in done.stderr.splitlines()[-1]
    (kept,) = (repository / "runs").rglob("*.journal.jsonl")
    assert kept.read_text().count("\n") == 3
    assert git(repository, "worktree", "list").count("\n") == 0


def test_a_killed_gate_is_recovered_by_the_next_one(gate, repository):
    running, folder = started_gate(repository)
    running.kill()
    running.communicate()
    gate()
    (path,) = folder.glob("*_partial.json")
    document = read_gate_file(path)
    assert document["is_partial"]
    assert len(document["runs"]) >= 6
    assert document["verdicts"]
    assert not list(folder.glob("*.journal.jsonl"))
    assert git(repository, "worktree", "list").count("\n") == 0  # the killed run's checkout is gone


def test_a_checkout_that_differs_from_its_commit_is_refused(repository):
    (repository / ".gitattributes").write_text("*.py filter=mangle\n")
    git(repository, "add", ".gitattributes")
    git(repository, "commit", "-qm", "a filter")
    git(repository, "config", "filter.mangle.smudge", "sed s/torch/tensor/")
    git(repository, "config", "filter.mangle.clean", "cat")
    commit = git(repository, "rev-parse", "HEAD")
    with pytest.raises(ValueError, match="is dirty right after git made it"), checked_out(repository, commit):
        pass
