"""A gate file in which one thing was made hostile is read, or refused in one line; so is whatever is made of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinetics.files.lines import DataFileError
from kinetics.gate.cases import GateGrid, gate_cases
from kinetics.gate.evidence import BASE, CANDIDATE, CaseRun
from kinetics.gate.gate_file import Mode, complete, header, read_gate_file, read_self_test
from kinetics.gate.history import read_history
from kinetics.gate.self_test import case_plans, plan_for
from kinetics.gate.stored import stored_baseline
from kinetics.results.journal import JOURNAL_SUFFIX
from kinetics.results.recovery import recover_journals
from tests.support.hostile_json import hostile_lines

CASES = gate_cases(GateGrid.SMOKE, "cpu")[:1]
MACHINE = {"device": "a device", "device_kind": "cpu", "device_slug": "cpu-a", "num_cpus": 2, "torch_threads": 2}
CEILINGS = {
    "read_bytes_per_s": 1e11, "cached_read_bytes_per_s": 2e11, "copy_bytes_per_s": 1e11, "matmul_flop_per_s": 1e12,
    "launch_s": 1e-5, "cache_bytes": 2**25,
}  # fmt: skip
FUZZED = settings(
    max_examples=150,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def launch(number: int, *, mode: Mode) -> dict[str, Any]:
    """One launch of the one case, as a session writes it."""
    sides = [CANDIDATE] if mode is Mode.STORED else [BASE, CANDIDATE]
    shift = 1e-3 * (number % 3 - 1)
    return CaseRun(
        case=CASES[0].name,
        look=1,
        launch=number,
        first_side=sides[0],
        median_s=dict.fromkeys(sides, 1e-3 * (1.0 + shift)),
        canary_bytes_per_s=dict.fromkeys(sides, 1e10),
        log_ratios={} if mode is Mode.STORED else {CANDIDATE: shift},
        max_abs_error=dict.fromkeys(sides, 1e-7),
        work={"num_bytes": 10**6, "flop": 10**6, "num_launches": 1},
        others_cpu_share=0.0,
        block_log_ratios={} if mode is Mode.STORED else {CANDIDATE: [shift] * 3},
    ).as_row()


def document(mode: Mode) -> dict[str, Any]:
    """A whole file of one run, with everything that a run of this mode writes."""
    more: dict[str, Any] = {
        Mode.LOCKSTEP: {
            "base": {"revision": "HEAD", "id": "0" * 40},
            "base_grid": {"only_base": ["gone"], "own_budgets": {CASES[0].name: 0.1}, "untold": None},
            "referee": {"remarks": ["Timed by the candidate's stopwatch"], "own_verdicts": {CASES[0].name: "SLOW"}},
            "identity": {CASES[0].name: {"is_same": False, "differing": ["python x"], "reason": None}},
            "instructions": {CASES[0].name: {"base": {"k": 100}, "candidate": {"k": 100}, "reason": None}},
        },
        Mode.STORED: {
            "baselines": {CASES[0].name: {"log_values": [16.0] * 8, "incomparable": None}},
            "baseline_files": ["old.json"],
        },
        Mode.SELF_TEST: {"base": {"revision": "HEAD", "id": "0" * 40}},
    }[mode]
    return header(
        mode=mode,
        plans=[plan_for(case) for case in CASES],
        started_utc="2026-01-31T12:00:00Z",
        machine_info=MACHINE,
        ceilings=dict(CEILINGS),
        commit_info={"id": "1" * 40, "dirty": False},
        settings={"grid": "smoke", "num_launches": 5, "num_launches_per_look": 5, "num_rounds": 24, "minutes": 10.0},
        circumstances={"cpus": [0, 1], "nice": 0, "governor": None, "clock_hz": 1e9, "load": 0.1},
        wall_s=1.0,
        lost=None,
        **more,
    )


def finished(mode: Mode) -> dict[str, Any]:
    """The document with ten launches, judged."""
    made = document(mode) | {"runs": [launch(number, mode=mode) for number in range(10)]}
    complete(made)
    return made


def use(path: Any) -> None:
    """Everything that anybody makes of a gate file that was read."""
    found = read_gate_file(path)
    stored_baseline(CASES[0].name, CASES[0].spec, [found], MACHINE)
    if found["mode"] == Mode.SELF_TEST.value:
        case_plans(CASES, found, MACHINE, num_launches=5)


def in_one_line(error: ValueError) -> None:
    assert str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize("mode", Mode)
def test_the_files_are_fine_before_anything_is_made_hostile(tmp_path, mode):
    path = tmp_path / "gate.json"
    path.write_text(json.dumps(finished(mode)))
    use(path)
    read_history(tmp_path)


@FUZZED
@given(content=st.sampled_from([finished(mode) for mode in Mode]).flatmap(lambda made: hostile_lines([made])))
def test_a_hostile_gate_file_is_used_or_refused_in_one_line(tmp_path, content):
    path = tmp_path / "gate.json"
    path.write_bytes(content)
    for read in (lambda: use(path), lambda: read_history(tmp_path)):
        try:
            read()
        except ValueError as error:
            in_one_line(error)


@FUZZED
@given(content=st.sampled_from([Mode.LOCKSTEP, Mode.SELF_TEST]).flatmap(
    lambda mode: hostile_lines([
        {"pid": 1, "process_started": 0.0, "result": "gate.json", "document": document(mode)},
        *(launch(number, mode=mode) for number in range(4)),
    ])
))  # fmt: skip
def test_a_hostile_journal_of_the_gate_is_recovered_or_put_aside(tmp_path, content):
    for old in tmp_path.iterdir():
        old.unlink()
    (tmp_path / f"gate{JOURNAL_SUFFIX}").write_bytes(content)
    for found in recover_journals(tmp_path, complete=complete):
        assert "\n" not in str(found)
    for path in tmp_path.glob("*.json"):
        try:
            use(path)
        except ValueError as error:
            in_one_line(error)


@pytest.mark.parametrize(
    ("mode", "place", "value", "words"),
    [
        (Mode.SELF_TEST, ("ceilings", "matmul_flop_per_s"), 0.0, "ceilings.matmul_flop_per_s must be positive"),
        (Mode.LOCKSTEP, ("ceilings", "launch_s"), float("inf"), "ceilings.launch_s must be positive and finite"),
        (
            Mode.STORED,
            ("baselines", CASES[0].name, "log_values", 0),
            float("nan"),
            "log_values must lie within 200 of 0",
        ),
        (Mode.SELF_TEST, ("runs", 0, "log_ratios", CANDIDATE), 2**31, "must lie within 200 of 0, got 2147483648"),
        (Mode.SELF_TEST, ("runs", 0, "block_log_ratios", CANDIDATE, 1), -1e9, "must lie within 200 of 0"),
    ],
)
def test_a_number_that_cannot_be_is_refused_in_one_line(tmp_path, mode, place, value, words):
    made = finished(mode)
    holder: Any = made
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    path = tmp_path / "gate.json"
    path.write_text(json.dumps(made))
    with pytest.raises(DataFileError, match=words):
        read_gate_file(path)


def test_only_a_self_test_is_one(tmp_path):
    path = tmp_path / "aa-gate.json"
    path.write_text(json.dumps(finished(Mode.SELF_TEST)))
    read_self_test(path)
    path.write_text(json.dumps(finished(Mode.STORED)))
    with pytest.raises(DataFileError, match=r"must be a file of kinetics gate self-test, got one of mode stored"):
        read_self_test(path)
