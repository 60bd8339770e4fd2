"""Folders of stored files as series: which runs belong together, what is left out and said, by the verb itself."""

import json
from dataclasses import asdict

import pytest
from typer.testing import CliRunner

from kinetics.cli.main import app
from kinetics.gate.evidence import CaseRun
from kinetics.gate.gate_file import Mode, complete, header
from kinetics.gate.history import SeriesKey, read_history
from kinetics.gate.verdicts import CasePlan
from tests.kinetics.gate.test_stored import CEILINGS, MACHINE, SPEC

DEVICE = "x"


def case_run(launch, seconds, *, bytes_per_s=1e9, **facts):
    return CaseRun(
        case="case", look=1, launch=launch, first_side="base", log_ratios={"candidate": 0.001 * launch},
        median_s={"base": seconds, "candidate": seconds},
        canary_bytes_per_s={"base": bytes_per_s, "candidate": bytes_per_s},
        work={"num_bytes": 1000, "flop": 1, "num_launches": 1}, **facts,
    )  # fmt: skip


@pytest.fixture
def gate_file(tmp_path):
    """Writes a file of the gate: one case, five launches."""

    def write(day, *, seconds=1e-3, spec=SPEC, machine=MACHINE, verdict=None, commit="a", **facts):
        document = header(
            mode=Mode.LOCKSTEP,
            plans=[CasePlan(name="case", spec=spec, detectable_budget=0.1)],
            machine_info=machine,
            ceilings=asdict(CEILINGS),
            commit_info={"id": commit, "dirty": False},
            settings={"num_launches": 5, "num_launches_per_look": 5},
            base={"revision": "main", "id": "b"},
            started_utc=f"2026-11-{day:02}T12:00:00Z",
            lost=None,
        )
        document["runs"] = [case_run(launch, seconds * (1 + launch / 1000), **facts).as_row() for launch in range(5)]
        complete(document)
        if verdict:
            document["verdicts"][0]["verdict"] = verdict
        path = tmp_path / f"{day:02}-{commit}.json"
        path.write_text(json.dumps(document))
        return path

    return write


def trend(folder, *options):
    return CliRunner().invoke(app, ["gate", "trend", str(folder), *options])


def test_a_planted_drift_is_slower_and_exits_1_and_a_slower_machine_is_none(gate_file, tmp_path):
    for day in range(1, 10):
        gate_file(day, seconds=1e-3 * 1.01**day)
    done = trend(tmp_path, "--markdown", str(tmp_path / "trend.md"))
    assert done.exit_code == 1
    assert "SLOWER" in done.stdout
    assert "+8.3 %" in done.stdout
    assert "| case | 9 | 8.0 | SLOWER |" in (tmp_path / "trend.md").read_text()
    for day in range(1, 10):
        gate_file(day, seconds=1e-3 * 1.01**day, bytes_per_s=1e9 / 1.01**day)
    found = json.loads(trend(tmp_path, "--json").stdout)["trends"][0]
    assert found["drift"] == "STEADY"
    assert found["canary_change"] == pytest.approx(1.01**-8 - 1)


def test_launches_of_one_file_are_one_point(gate_file, tmp_path):
    gate_file(1)
    (points,) = read_history(tmp_path).series.values()
    assert len(points) == 1


def test_other_devices_other_forms_refused_candidates_and_disturbed_launches_are_kept_apart(gate_file, tmp_path):
    gate_file(9)
    gate_file(8, machine=MACHINE | {"num_cpus": 4})
    gate_file(7, spec={"context_len": 4096})
    gate_file(6, verdict="SLOW")
    gate_file(5, disturbance="a neighbour")
    history = read_history(tmp_path)
    counts = {key.device: len(points) for key, points in history.series.items()}
    assert counts == {"x": 1, "x #2": 1}
    assert any("case: 1 runs left out, in another form" in line for line in history.left_out)
    assert sum("no case that was timed undisturbed" in line for line in history.left_out) == 2


def test_result_files_of_benchmarks_are_a_series_of_their_own(gate_file, result, row, tmp_path):
    gate_file(1)
    rows = [row(canary_bytes_per_s=1e9), row(context_len=4096, canary_bytes_per_s=1e9, disturbed="neighbours")]
    path = result("bench.json", rows)
    document = json.loads(path.read_text()) | {"started_utc": "2026-11-02T12:00:00Z"}
    (tmp_path / "bench.json").write_text(json.dumps(document))
    keys = read_history(tmp_path).series.keys()
    assert {key.source for key in keys} == {"gate", "bench"}
    assert sum(key.source == "bench" for key in keys) == 1
    assert SeriesKey(DEVICE, "gate", "case") in keys


def test_unreadable_files_and_copies_are_named_and_the_rest_is_judged(gate_file, tmp_path):
    for day in range(1, 8):
        gate_file(day)
    (tmp_path / "torn.json").write_text('{"benchmarks": [')
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "copy.json").write_bytes((tmp_path / "01-a.json").read_bytes())
    undated = json.loads((tmp_path / "02-a.json").read_text()) | {"started_utc": "yesterday"}
    (tmp_path / "undated.json").write_text(json.dumps(undated))
    (tmp_path / ".half.partial.json").write_text("{")
    done = trend(tmp_path)
    assert done.exit_code == 0
    assert "STEADY" in done.stdout
    lines = done.stderr.splitlines()
    assert len(lines) == 6, lines
    for name in ("torn.json", "list.json", "binary.json", "copy.json", "undated.json"):
        assert sum(name in line for line in lines) == 1, name
    assert lines[-1].endswith("7 runs: 1 STEADY")


@pytest.mark.parametrize(
    ("files", "line"),
    [
        (None, "must be a folder of result files, got none"),
        (0, "must hold files of kinetics gate or of benchmark runs, got none that can be used"),
        (1, "1 run: 1 not judged (at best 1 run, 6 are needed)"),
    ],
)
def test_no_folder_an_empty_one_and_one_file_are_one_line_and_exit_3(gate_file, tmp_path, files, line):
    for day in range(files or 0):
        gate_file(day + 1)
    done = trend(tmp_path / "none" if files is None else tmp_path)
    assert (done.exit_code, done.stdout) == (3, "")
    assert line in done.stderr
    assert len(done.stderr.splitlines()) == 1
