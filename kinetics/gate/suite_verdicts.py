"""From the evidence on somebody's tests to one verdict per test, by the decision rule of the gate. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from kinetics.files.atomic import to_strict
from kinetics.gate.decision import MIN_LAUNCHES, MIN_MARGIN, Verdict, look_at
from kinetics.gate.evidence import BASE, CANDIDATE, CaseRun, case_run
from kinetics.gate.sequential import decide
from kinetics.gate.verdicts import CaseVerdict
from kinetics.results.store import Document


def complete_suite(document: Document) -> None:
    """Judge a document from its evidence. Rows that a journal left under `benchmarks` are evidence too."""
    document["runs"] = [*document.get("runs", []), *document["benchmarks"]]
    document["benchmarks"] = []
    document["verdicts"] = to_strict([_as_row(verdict) for verdict in suite_verdicts(document)])


def suite_verdicts(document: Mapping[str, Any]) -> list[CaseVerdict]:
    """One verdict per test that either side has, but those that both skip, in the candidate's order."""
    runs = [case_run(row) for row in document["runs"]]
    found = [CaseVerdict(case=test, verdict=Verdict.NEW, reason="only here") for test in document["new"]]
    found += [
        CaseVerdict(case=test, verdict=Verdict.MISSING, reason="only in the base") for test in document["missing"]
    ]
    budget = document["settings"]["budget"]
    for test in document["tests"]:
        of_test = [run for run in runs if run.case == test]
        if not is_skipped(of_test):
            found.append(judge_test(test, of_test, budget=budget))
    return found


def is_skipped(runs: Sequence[CaseRun]) -> bool:
    """Whether neither side has anything to time, as it says itself: skipped, or never calling `benchmark`."""
    return any(BASE in run.refusals and CANDIDATE in run.refusals and not run.wrong_sides for run in runs)


def judge_test(test: str, runs: Sequence[CaseRun], *, budget: float) -> CaseVerdict:
    """The verdict on one test from all its launches."""
    timed = [run for run in runs if run.counts]
    if refused := next((run for run in runs if run.refusals), None):
        return _judge_refusal(test, refused, was_timed=bool(timed))
    values = [run.log_ratios[CANDIDATE] for run in timed]
    decision = decide(values, budget=budget, margin=MIN_MARGIN)
    if len(values) < MIN_LAUNCHES:
        return CaseVerdict(
            case=test, verdict=Verdict.AMBIGUOUS, reason=f"the time ran out after {len(values)} launches"
        )
    look = look_at(values)
    flagged = f"{decision.flagged.value} once, not confirmed" if decision.flagged and not decision.is_decided else ""
    left = decision.num_launches_left
    return CaseVerdict(
        case=test,
        verdict=decision.verdict,
        reason=flagged,
        ratio=look.ratio,
        lower=math.exp(look.lower),
        upper=math.exp(look.upper),
        num_launches=len(values),
        num_launches_needed=None if left is None or decision.is_decided else len(values) + left,
        launch_sd=look.sd,
        median_s={side: statistics.median(run.median_s[side] for run in timed) for side in (BASE, CANDIDATE)},
    )


def is_open(runs: Sequence[CaseRun], *, budget: float) -> bool:
    """Whether another launch could change what is said of a test."""
    if any(run.refusals for run in runs):
        return False
    decision = decide([run.log_ratios[CANDIDATE] for run in runs if run.counts], budget=budget, margin=MIN_MARGIN)
    return not decision.is_decided and decision.num_launches_next is not None


def _judge_refusal(test: str, run: CaseRun, *, was_timed: bool) -> CaseVerdict:
    reason = "; ".join(f"{side}: {why}" for side, why in run.refusals.items())
    if was_timed:
        verdict, reason = Verdict.INVALID, f"timed in other launches, but {reason}"
    elif CANDIDATE not in run.refusals:
        verdict = Verdict.NEW
    elif CANDIDATE in run.wrong_sides or BASE in run.refusals:
        verdict = Verdict.INVALID
    else:
        verdict = Verdict.MISSING
    return CaseVerdict(case=test, verdict=verdict, reason=reason)


def _as_row(verdict: CaseVerdict) -> dict[str, Any]:
    names = ("case", "verdict", "reason", "ratio", "lower", "upper", "num_launches", "num_launches_needed", "launch_sd")
    return {name: getattr(verdict, name) for name in names} | {"median_s": dict(verdict.median_s)}
