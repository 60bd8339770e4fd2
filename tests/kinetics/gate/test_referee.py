"""The base times and judges: what a candidate changes in the gate does not decide on itself."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from kinetics.cli.main import app
from kinetics.gate import referee as referees
from kinetics.gate import runs
from kinetics.gate.base_answers import ask_base
from kinetics.gate.gate_file import Mode, complete, read_gate_file
from kinetics.gate.process import WORKER
from kinetics.gate.sequential import RULE
from kinetics.gate.tables import remarks
from tests.support.fake_checkout import behave, git
from tests.support.gate_documents import finished
from tests.support.paths import ROOT

WORDS = ["--device", "cpu", "--grid", "smoke", "--launches", "20", "--base", "HEAD", "--time-all", "--json"]


def commit(repository, message="gate"):
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", message)


def give_stopwatch(repository, *, worker=lambda text: text, timing=lambda text: text):
    """Commit this suite's worker and stopwatch, as changed."""
    changes = {"gate/worker.py": worker, "measure/timing.py": timing}
    for name in referees._STOPWATCH:
        path, text = repository / "kinetics" / name, (ROOT / "kinetics" / name).read_text()
        path.write_text(changes[name](text) if name in changes else text)
    commit(repository)


def give_rules(repository, **changes):
    """Commit this suite's package but for what the fake one has, with lines of `gate/` files changed."""
    for source in (ROOT / "kinetics").rglob("*.py"):
        path = repository / "kinetics" / source.relative_to(ROOT / "kinetics")
        if not path.exists() or path.read_text() == "":
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, path)
    door = repository / "kinetics" / "measure" / "prepared_case.py"
    door.write_text(door.read_text() + 'STEP = "step"\n')
    for name, (old, new) in changes.items():
        path = repository / "kinetics" / "gate" / f"{name}.py"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
    commit(repository)


@pytest.fixture
def gate(repository, monkeypatch):
    """Times every case against HEAD; returns exit code and document."""
    monkeypatch.chdir(repository)
    monkeypatch.setattr(runs, "instructions", lambda *_arguments: {})

    def run():
        done = CliRunner().invoke(app, ["gate", *WORDS])
        assert done.stdout, done
        return done.exit_code, json.loads(done.stdout)

    return run


def test_a_stopwatch_that_is_the_same_is_nobodys_and_one_that_differs_is_the_bases(repository):
    give_stopwatch(repository)
    assert referees.referee(repository, repository, "cpu") == referees.Referee()
    give_stopwatch(repository, timing=lambda text: text + "\n# another\n")
    found = referees.referee(repository, repository, "cpu")
    assert found.worker == repository / "kinetics" / "gate" / "worker.py"
    assert found.remarks == ["Timed by the base's stopwatch on both sides: the candidate changes it"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("PROTOCOL = 1", "PROTOCOL = 0"), "the base has none that this gate can talk to"),
        (lambda text: text.replace("PROTOCOL = 1", ""), "the base has none that this gate can talk to"),
        (lambda text: text.replace("DOOR_VERSIONS = (1,)", "DOOR_VERSIONS = (0,)"), "the base's does not run it"),
        (lambda text: text.replace("import gc\n", "import gcc\n"), "the base's does not run it"),
    ],
)
def test_a_stopwatch_that_cannot_be_the_bases_is_the_candidates_and_says_so(repository, change, words):
    give_stopwatch(repository, worker=change)
    found = referees.referee(repository, repository, "cpu")
    assert found.worker == WORKER
    assert len(found.remarks) == 1
    assert words in found.remarks[0]


@pytest.mark.usefixtures("calm")
def test_both_sides_are_timed_by_the_bases_stopwatch(gate, repository):
    slower = 'return {"seconds": 7.0 + time.perf_counter() - start'
    give_stopwatch(
        repository, worker=lambda text: text.replace('return {"seconds": time.perf_counter() - start', slower)
    )
    _, document = gate()
    assert all(7.0 < seconds < 8.0 for run in document["runs"] for seconds in run["median_s"].values())
    assert "Timed by the base's stopwatch on both sides: the candidate changes it" in remarks(document)


@pytest.mark.usefixtures("calm")
def test_a_margin_that_the_candidate_loosens_is_the_bases(gate, repository, monkeypatch):
    give_rules(repository)
    behave(repository, seconds=1.5e-3)
    monkeypatch.setattr("kinetics.gate.verdicts.decide_by_looks", _everything_is_same)
    code, document = gate()
    assert code == 1, document["referee"]
    assert {row["verdict"] for row in document["verdicts"]} == {"SLOW"}
    assert set(document["referee"]["own_verdicts"].values()) == {"SAME"}
    assert sum("by the candidate's it would be SAME" in line for line in remarks(document)) == 2


def _everything_is_same(log_ratios, *, budget):
    from kinetics.gate.decision import Verdict
    from kinetics.gate.sequential import SequentialDecision

    del budget
    next_at = None if len(log_ratios) >= 8 else 8
    verdict = Verdict.AMBIGUOUS if next_at else Verdict.SAME
    return SequentialDecision(verdict=verdict, flagged=None, num_looked_at=len(log_ratios), num_launches_next=next_at)


@pytest.mark.usefixtures("calm")
def test_a_base_of_another_rule_does_not_judge_and_the_table_says_so(gate, repository, tmp_path):
    give_rules(repository, sequential=('RULE = "sequential-1"', 'RULE = "sequential-0"'))
    _, document = gate()
    lines = [line for line in remarks(document) if "the base does not judge" in line]
    assert len(lines) == 1
    assert "it judges by sequential-0, these launches were taken for sequential-1" in lines[0]
    assert document["referee"]["own_verdicts"] == {}
    path = tmp_path / "told.json"
    path.write_text(json.dumps(document))
    assert read_gate_file(path)["referee"] == document["referee"]


def test_a_candidate_that_changes_how_code_is_compared_has_every_case_timed(repository):
    folder = repository / "kinetics" / "gate" / "witness"
    shutil.copytree(ROOT / "kinetics" / "gate" / "witness", folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (*referees._WITNESS, *referees._DRIVER):
        shutil.copy(ROOT / "kinetics" / name, repository / "kinetics" / name)
    found = referees.referee(repository, repository, "cpu")
    assert not found.is_witness_changed
    assert not any("launches are taken" in line for line in found.remarks)
    (repository / "kinetics" / "gate" / "lockstep.py").write_text("")
    assert any("launches are taken" in line for line in referees.referee(repository, repository, "cpu").remarks)
    (folder / "more.py").write_text("")
    assert referees.referee(repository, repository, "cpu").is_witness_changed
    (folder / "more.py").unlink()
    (folder / "assembly.py").unlink()  # the candidate adds it
    assert referees.referee(repository, repository, "cpu").is_witness_changed
    shutil.copy(ROOT / "kinetics" / "gate" / "witness" / "assembly.py", folder)
    assert not referees.referee(repository, repository, "cpu").is_witness_changed
    (repository / "kinetics" / "gate" / "identity.py").write_text("")
    assert referees.referee(repository, repository, "cpu").is_witness_changed
    shutil.copy(ROOT / "kinetics" / "gate" / "identity.py", repository / "kinetics" / "gate" / "identity.py")
    (folder / "canonical.py").write_text((folder / "canonical.py").read_text() + "\n# another\n")
    found = referees.referee(repository, repository, "cpu")
    assert found.is_witness_changed
    assert any("every case is timed" in line for line in found.remarks)


@pytest.mark.usefixtures("calm")
def test_ceilings_are_measured_by_the_base(gate, repository):
    door = repository / "kinetics" / "measure" / "prepared_case.py"
    door.write_text(door.read_text().replace("dict.fromkeys(rates, 1e9)", "dict.fromkeys(rates, 1e30)"))
    behave(repository, num_bytes=2**40)
    code, document = gate()
    assert code == 3
    assert {row["verdict"] for row in document["verdicts"]} == {"INVALID"}


@pytest.mark.usefixtures("calm")
def test_a_changed_witness_is_not_asked(repository, monkeypatch):
    folder = repository / "kinetics" / "gate" / "witness"
    folder.mkdir()
    (folder / "canonical.py").write_text("# another\n")
    commit(repository)
    monkeypatch.chdir(repository)
    monkeypatch.setattr(runs, "instructions", lambda *_arguments: {})
    monkeypatch.setattr(runs, "_identities", lambda *_arguments: pytest.fail("asked"))
    done = CliRunner().invoke(app, ["gate", *[word for word in WORDS if word != "--time-all"]])
    assert json.loads(done.stdout)["runs"]


@pytest.mark.usefixtures("calm")
def test_a_rule_that_stops_before_the_bases_would_is_invalid(gate, repository, monkeypatch):
    give_rules(repository, sequential=("LOOKS = (4, 6, 8,", "LOOKS = (9,"))
    monkeypatch.setattr("kinetics.gate.verdicts.decide_by_looks", _everything_is_same)
    code, document = gate()
    assert code == 3
    assert {row["verdict"] for row in document["verdicts"]} == {"INVALID"}
    assert "the candidate's rule stopped after 8 launches" in document["verdicts"][0]["reason"]


@pytest.mark.parametrize(
    ("told", "words"),
    [("[]", "it judges other cases"), ("\xff", "does not judge"), (KeyboardInterrupt, "interrupted")],
)
def test_a_base_that_answers_something_else_does_not_judge(repository, monkeypatch, told, words):
    script = repository / "says.py"
    script.write_bytes(b"import sys; sys.stdout.buffer.write(" + repr(str(told).encode("latin-1")).encode() + b")")
    monkeypatch.setattr(referees, "_SCRIPT", script)
    if told is KeyboardInterrupt:
        monkeypatch.setattr(referees, "ask_base", _interrupted)
    document = finished(Mode.LOCKSTEP) | {"referee": {"remarks": [referees.NOT_JUDGED]}}
    own = document["verdicts"]
    referees.judge_by_base(document, repository)
    assert document["verdicts"] == own
    assert len(document["referee"]["remarks"]) == 1
    assert words in document["referee"]["remarks"][0]


def _interrupted(*_arguments, **_options):
    raise KeyboardInterrupt


def test_another_gate_that_is_installed_speaks_for_no_base(repository):
    shutil.rmtree(repository / "kinetics")
    document = finished(Mode.LOCKSTEP) | {"referee": {"remarks": []}}
    document["settings"]["rule"] = RULE
    referees.judge_by_base(document, repository)
    (told,) = document["referee"]["remarks"]
    assert told.startswith("Judged by the candidate's rules: the base does not judge (")
    assert "it has no kinetics.gate.gate_file" in told or "No module named 'kinetics" in told  # if none is installed


def test_a_run_that_dies_before_the_base_judged_says_so(gate, repository, monkeypatch):
    give_rules(repository)
    monkeypatch.setattr(runs, "judge_by_base", lambda document, base_root: complete(document))
    _, document = gate()
    assert referees.NOT_JUDGED in remarks(document)


def test_a_base_is_asked_without_the_paths_of_whoever_asks(tmp_path, monkeypatch):
    script = tmp_path / "says.py"
    script.write_text("import json, os\nprint(json.dumps([os.environ.get('PYTHONPATH', ''), os.getcwd()]))\n")
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    assert ask_base(script, tmp_path, (), list[str]) == ["", str(tmp_path)]
    assert "No such file" in str(ask_base(script, tmp_path / "gone", (), list[str]))
