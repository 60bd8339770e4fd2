"""Files of the gate: one document per run, whole even if the run was not, judged again from its own contents.

A document holds how every case is to be judged (`cases`), the evidence (`runs`) and the verdicts. `benchmarks` is
there because every result file has it, and is empty: times of lockstep launches are half of a comparison.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from kinetics.files.atomic import to_strict
from kinetics.files.checked import checked, checked_exactly, shown
from kinetics.files.lines import DataFileError
from kinetics.gate.decision import Verdict
from kinetics.gate.evidence import CANDIDATE, CaseRun, case_run
from kinetics.gate.identity import Identity
from kinetics.gate.instructions import Instructions, with_instructions
from kinetics.gate.self_test import SelfTest, self_tests
from kinetics.gate.stored import StoredBaseline, judge_stored
from kinetics.gate.union import DELETED, BaseGrid
from kinetics.gate.verdicts import CasePlan, CaseVerdict, fastest_seen, judge_case
from kinetics.results.store import SCHEMA, Document, read_result
from kinetics.specs.ceilings import Ceilings

SAME_CODE = "same code, not timed"
"""Why a case is SAME of which there is no time."""


_MOST_LOG = 200.0
"""Of a ratio, or of a time in units of what memory reads in it; e to this power is none that was measured."""
_WORK = ("num_bytes", "flop", "num_launches")
"""What a launch that counts tells of its call."""
_MOST_WORK = 2**63
"""Of a call; more is no number of bytes or FLOP that was counted."""


class Mode(Enum):
    """What a run of the gate compared."""

    LOCKSTEP = "lockstep"
    """Two checkouts, round by round."""
    STORED = "stored"
    """This checkout against earlier files."""
    SELF_TEST = "aa"
    """One revision against itself."""


def header(*, mode: Mode, plans: Sequence[CasePlan], **facts: Any) -> Document:
    """A document that has no evidence yet. `facts`: machine_info, commit_info, ceilings, settings and the like."""
    cases = [asdict(plan) for plan in plans]
    return {"schema": SCHEMA, "kind": "gate", "mode": mode.value, "cases": cases, **facts, "benchmarks": [], "runs": []}


def complete(document: Document) -> None:
    """Judge a document from its evidence. Rows that a journal left under `benchmarks` are evidence too."""
    document["runs"] = [*document.get("runs", []), *document["benchmarks"]]
    document["benchmarks"] = []
    if document["mode"] == Mode.SELF_TEST.value:
        tests = self_tests(document, num_launches=document["settings"]["num_launches_per_look"])
        document["self_tests"] = to_strict([asdict(test) for test in tests])
    else:
        document["verdicts"] = to_strict([asdict(one) for one in verdicts_of(document)])


def verdicts_of(document: Mapping[str, Any]) -> list[CaseVerdict]:
    """One verdict per case, in the order of the grid; then those that only the base's grid has."""
    runs = [case_run(row) for row in document["runs"]]
    by_case = {plan["name"]: [run for run in runs if run.case == plan["name"]] for plan in document["cases"]}
    plans = [plan_of(row) for row in document["cases"]]
    ceilings = fastest_seen(Ceilings(**document["ceilings"]), runs)
    if document["mode"] == Mode.STORED.value:
        baselines = baselines_of(document)
        return [judge_stored(plan, by_case[plan.name], baselines[plan.name], ceilings) for plan in plans]
    same = same_cases(document)
    counted = {name: Instructions(**row) for name, row in document.get("instructions", {}).items()}
    deleted = document.get("base_grid", {}).get("only_base", ())
    return [
        CaseVerdict(case=plan.name, verdict=Verdict.SAME, reason=SAME_CODE)
        if plan.name in same
        else with_instructions(judge_case(plan, by_case[plan.name], ceilings), counted.get(plan.name))
        for plan in plans
    ] + [CaseVerdict(case=name, verdict=Verdict.MISSING, reason=DELETED) for name in deleted]


def told_verdicts(document: Mapping[str, Any]) -> list[CaseVerdict]:
    """The verdicts that a document holds, whoever judged."""
    return [checked_exactly(row, CaseVerdict) for row in document["verdicts"]]


def same_cases(document: Mapping[str, Any]) -> set[str]:
    """The cases that are the same code on both sides, and so were not timed."""
    return {name for name, found in document.get("identity", {}).items() if found["is_same"]}


def plan_of(row: Mapping[str, Any]) -> CasePlan:
    """The plan that `header` wrote.

    Raises: ValueError if the row is no such plan.
    """
    return checked_exactly(row, CasePlan)


def baselines_of(document: Mapping[str, Any]) -> dict[str, StoredBaseline]:
    """The stored baseline of every case, as the document keeps it."""
    return {
        name: StoredBaseline(log_values=tuple(row["log_values"]), incomparable=row["incomparable"])
        for name, row in document["baselines"].items()
    }


class _Machine(msgspec.Struct):
    device: str


class _Base(msgspec.Struct):
    id: str


class _Commit(_Base):
    dirty: bool


class _Settings(msgspec.Struct):
    num_launches: int
    num_launches_per_look: int | None = None


class _Referee(msgspec.Struct):
    remarks: list[str] = msgspec.field(default_factory=list)
    own_verdicts: dict[str, Verdict] = msgspec.field(default_factory=dict)


class _GateFile(msgspec.Struct):
    """What every file of the gate says, and what some modes add. The evidence is checked record by record."""

    kind: Literal["gate"]
    mode: Mode
    cases: list[dict[str, Any]]
    runs: list[dict[str, Any]]
    machine_info: _Machine
    commit_info: _Commit
    settings: _Settings
    ceilings: Ceilings
    self_tests: list[dict[str, Any]] | None = None
    verdicts: list[dict[str, Any]] | None = None
    baseline_files: list[Any] | None = None
    baselines: dict[str, StoredBaseline] | None = None
    base: _Base | None = None
    base_grid: BaseGrid = msgspec.field(default_factory=BaseGrid)
    referee: _Referee = msgspec.field(default_factory=_Referee)
    identity: dict[str, Identity] = msgspec.field(default_factory=dict)
    instructions: dict[str, Instructions] = msgspec.field(default_factory=dict)


_NEEDED: Final = {
    Mode.LOCKSTEP: ("verdicts", "base"),
    Mode.STORED: ("verdicts", "baseline_files", "baselines"),
    Mode.SELF_TEST: ("self_tests", "base"),
}


def read_gate_file(path: Path) -> Document:
    """A file of `kinetics gate` or `kinetics gate self-test`.

    Raises: DataFileError, in one line naming the file, if it is not one.
    """
    document = read_result(path)
    if document.get("kind") != "gate" or "runs" not in document:
        raise DataFileError(
            f"{path}: is not a file of kinetics gate or kinetics gate self-test; make one with kinetics gate self-test"
        )
    try:
        _check_version(document)
    except ValueError as error:
        raise DataFileError(f"{path}: holds rows of another version ({error}); measure again") from None
    return document


def read_self_test(path: Path) -> Document:
    """A file of `kinetics gate self-test`.

    Raises: DataFileError, in one line naming the file, if it is not one.
    """
    document = read_gate_file(path)
    if document["mode"] != Mode.SELF_TEST.value:
        raise DataFileError(
            f"{path}: must be a file of kinetics gate self-test, got one of mode {document['mode']}; move it away"
        )
    return document


def _check_version(document: Document) -> None:
    """Raises: ValueError if a part that judging or a table takes is missing or another's."""
    file = checked(document, _GateFile)
    for name in _NEEDED[file.mode]:
        if getattr(file, name) is None:
            raise ValueError(f"{name} must be given in a file of mode {file.mode.value}, got none")
    if file.mode is Mode.SELF_TEST and file.settings.num_launches_per_look is None:
        raise ValueError("settings.num_launches_per_look must be given in a self-test, got none")
    for rows, kind in (
        (file.runs, CaseRun), (file.cases, CasePlan), (file.self_tests, SelfTest), (file.verdicts, CaseVerdict),
    ):  # fmt: skip
        for row in rows or ():
            checked_exactly(row, kind)
    for name, value in asdict(file.ceilings).items():
        _check_positive(value, f"ceilings.{name}")
    for case, baseline in (file.baselines or {}).items():
        for value in baseline.log_values:
            _check_log(value, f"baselines.{shown(case)}.log_values")
    for number, row in enumerate(file.runs):
        _check_run(case_run(row), number)


def _check_run(run: CaseRun, number: int) -> None:
    """Raises: ValueError if a launch that counts lacks the candidate's time or work, or any time is none."""
    for name, values in (("median_s", run.median_s), ("canary_bytes_per_s", run.canary_bytes_per_s)):
        if run.counts and CANDIDATE not in values:
            raise ValueError(f"runs[{number}].{name} must tell the candidate's, got {shown(values)}")
        for value in values.values():
            _check_positive(value, f"runs[{number}].{name}")
    for name, value in [
        *run.log_ratios.items(),
        *((name, one) for name, all_ in run.block_log_ratios.items() for one in all_),
    ]:
        _check_log(value, f"runs[{number}]: log-ratios of {shown(name)}")
    for name in _WORK if run.counts else ():
        if not 0 <= run.work.get(name, -1) <= _MOST_WORK:
            raise ValueError(f"runs[{number}].work must tell {name}, got {shown(run.work)}")


def _check_positive(value: float, name: str) -> None:
    if not 0.0 < value < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {shown(value)}")


def _check_log(value: float, name: str) -> None:
    if not abs(value) <= _MOST_LOG:
        raise ValueError(f"{name} must lie within {_MOST_LOG:g} of 0, got {shown(value)}")
