"""A gate file in which one thing was made hostile is read, or refused in one line; so is whatever is made of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinetics.files.lines import DataFileError
from kinetics.gate.evidence import CANDIDATE
from kinetics.gate.gate_file import Mode, complete, read_gate_file, read_self_test
from kinetics.gate.history import read_history
from kinetics.gate.self_test import case_plans
from kinetics.gate.stored import stored_baseline
from kinetics.results.journal import JOURNAL_SUFFIX
from kinetics.results.recovery import recover_journals
from tests.support.gate_documents import CASES, MACHINE, document, finished, launch
from tests.support.hostile_json import hostile_lines

FUZZED = settings(
    max_examples=150,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


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
