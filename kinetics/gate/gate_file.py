"""Files of the gate: one document per run, whole even if the run was not, judged again from its own contents.

A document holds how every case is to be judged (`cases`), the evidence (`runs`) and the verdicts. `benchmarks` is
there because every result file has it, and is empty: times of lockstep launches are half of a comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Any

from kinetics.files.atomic import to_strict
from kinetics.gate.decision import Verdict
from kinetics.gate.evidence import case_run
from kinetics.gate.self_test import SelfTest, self_tests
from kinetics.gate.stored import StoredBaseline, judge_stored
from kinetics.gate.verdicts import CasePlan, CaseVerdict, fastest_seen, judge_case
from kinetics.results.store import SCHEMA, Document, read_result
from kinetics.specs.ceilings import Ceilings

_NEEDED = {"mode", "cases", "runs", "machine_info", "commit_info", "settings", "ceilings"}
_NEEDED_IN = {
    "machine_info": ("device",),
    "commit_info": ("id", "dirty"),
    "settings": ("num_launches",),
}


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
    """One verdict per case, in the order of the grid."""
    runs = [case_run(row) for row in document["runs"]]
    by_case = {plan["name"]: [run for run in runs if run.case == plan["name"]] for plan in document["cases"]}
    plans = [plan_of(row) for row in document["cases"]]
    ceilings = fastest_seen(Ceilings(**document["ceilings"]), runs)
    if document["mode"] == Mode.STORED.value:
        baselines = baselines_of(document)
        return [judge_stored(plan, by_case[plan.name], baselines[plan.name], ceilings) for plan in plans]
    return [judge_case(plan, by_case[plan.name], ceilings) for plan in plans]


def plan_of(row: Mapping[str, Any]) -> CasePlan:
    """The plan that `header` wrote."""
    band = row["residual_band"]
    return CasePlan(**{**row, "residual_band": tuple(band) if band else None})


def baselines_of(document: Mapping[str, Any]) -> dict[str, StoredBaseline]:
    """The stored baseline of every case, as the document keeps it."""
    return {
        name: StoredBaseline(log_values=tuple(row["log_values"]), incomparable=row["incomparable"])
        for name, row in document["baselines"].items()
    }


def read_gate_file(path: Path) -> Document:
    """A file of `kinetics gate` or `kinetics gate self-test`.

    Raises: ValueError, in one line naming the file, if it is not one.
    """
    document = read_result(path)
    if document.get("kind") != "gate" or not _NEEDED.issubset(document):
        raise ValueError(
            f"{path}: is not a file of kinetics gate or kinetics gate self-test; make one with kinetics gate self-test"
        )
    try:
        _check_version(document)
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: holds rows of another version ({error}); measure again") from None
    return document


def _check_version(document: Document) -> None:
    """Raises: TypeError, KeyError or ValueError if a part that judging or a table takes is missing or another's."""
    [case_run(row) for row in document["runs"]]
    [plan_of(row) for row in document["cases"]]
    Ceilings(**document["ceilings"])
    for part, names in _NEEDED_IN.items():
        _ = [document[part][name] for name in names]
    mode = Mode(document["mode"])
    if mode is Mode.SELF_TEST:
        [SelfTest(**row) for row in document["self_tests"]]
        int(document["settings"]["num_launches_per_look"])
    else:
        [CaseVerdict(**{**row, "verdict": Verdict(row["verdict"])}) for row in document["verdicts"]]
    if mode is Mode.STORED:
        len(document["baseline_files"])
        baselines_of(document)
    else:
        document["base"]["id"][:7]
