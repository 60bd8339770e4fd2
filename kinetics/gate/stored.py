"""Judging without the base's code: this run's times against those of earlier result files of the same machine. Pure.

Times of different hours do not compare; times multiplied by the read bandwidth seen between the very same calls (the
canary) do better. Still much blunter than lockstep: a case is SLOW only if its median lies 5 % and 3.5 robust
standard deviations above a rolling baseline of at least 8 launches, at two looks.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kinetics.gate.decision import Verdict, needs_confirmation
from kinetics.gate.evidence import CANDIDATE, CaseRun, case_run
from kinetics.gate.verdicts import CasePlan, CaseVerdict, medians_s, too_fast, too_few
from kinetics.specs.ceilings import Ceilings
from kinetics.specs.identity import identity_of

MIN_BASELINE_LAUNCHES = 8
STORED_MARGIN = 0.05
MIN_MODIFIED_Z = 3.5
_MAD_OF_UNIT_NORMAL = 0.6745


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBaseline:
    """Normalised log times of one case in earlier files, or why there are none to compare with."""

    log_values: tuple[float, ...]
    incomparable: str | None


def machine_difference(here: Mapping[str, Any], there: Mapping[str, Any]) -> str | None:
    """In what two machines differ, this one first; None if in nothing. What one file leaves out may differ, too."""
    device, other = identity_of(here), identity_of(there)
    if differences := device.differences(other):
        return "; ".join(differences)
    untold = device.untold(other)
    return f"identity incomplete, one of the two does not tell {', '.join(untold)}" if untold else None


def stored_baseline(
    case: str, spec: Mapping[str, Any], documents: Sequence[Mapping[str, Any]], machine: Mapping[str, Any]
) -> StoredBaseline:
    """The rolling baseline of one case: the launches of earlier files' candidates, but those that were called bad."""
    values: list[float] = []
    difference = None
    for document in documents:
        if found := machine_difference(machine, document["machine_info"]):
            difference = found
            continue
        if is_accepted(case, spec, document):
            values += [normalised(run) for run in map(case_run, document["runs"]) if run.case == case and run.counts]
    incomparable = None
    if len(values) < MIN_BASELINE_LAUNCHES:
        incomparable = difference or (
            f"the baseline files hold {len(values)} launches of it, {MIN_BASELINE_LAUNCHES} are needed"
        )
    return StoredBaseline(log_values=tuple(values), incomparable=incomparable)


def normalised(run: CaseRun) -> float:
    """Log of the candidate's time in units of what the machine could read in it."""
    return math.log(run.median_s[CANDIDATE] * run.canary_bytes_per_s[CANDIDATE])


def judge_stored(plan: CasePlan, runs: Sequence[CaseRun], baseline: StoredBaseline, ceilings: Ceilings) -> CaseVerdict:
    """The verdict on one case against a stored baseline. `ceilings`: the fastest that this device was seen to go."""
    if refused := next((run for run in runs if run.refusals), None):
        verdict = Verdict.WRONG if CANDIDATE in refused.wrong_sides else Verdict.INVALID
        return CaseVerdict(case=plan.name, verdict=verdict, reason="; ".join(refused.refusals.values()))
    if baseline.incomparable:
        return CaseVerdict(case=plan.name, verdict=Verdict.INCOMPARABLE, reason=baseline.incomparable)
    if reason := too_few(runs, look=1):
        return CaseVerdict(case=plan.name, verdict=Verdict.INVALID, reason=reason)
    timed = [run for run in runs if run.counts]
    if reason := too_fast(timed, ceilings):
        return CaseVerdict(case=plan.name, verdict=Verdict.INVALID, reason=reason, median_s=medians_s(timed))
    first = _one_look(runs, baseline, look=1)
    verdict, reason = first, ""
    if needs_confirmation(first):
        missing = too_few(runs, look=2)
        second = Verdict.AMBIGUOUS if missing else _one_look(runs, baseline, look=2)
        if second is not first:
            verdict, reason = Verdict.AMBIGUOUS, f"{first.value} at the first look, {missing or 'not at the second'}"
    shift = statistics.median(map(normalised, timed)) - statistics.median(baseline.log_values)
    return CaseVerdict(
        case=plan.name,
        verdict=verdict,
        reason=reason,
        ratio=math.exp(shift),
        num_launches=len(timed),
        detectable=_detectable(baseline),
        median_s=medians_s(timed),
    )


def is_stored_flagged(runs: Sequence[CaseRun], baseline: StoredBaseline) -> bool:
    """Whether a case needs its second look."""
    if baseline.incomparable or too_few(runs, look=1):
        return False
    return needs_confirmation(_one_look(runs, baseline, look=1))


def _one_look(runs: Sequence[CaseRun], baseline: StoredBaseline, *, look: int) -> Verdict:
    values = [normalised(run) for run in runs if run.look == look and run.counts]
    shift = statistics.median(values) - statistics.median(baseline.log_values)
    if abs(shift) <= math.log1p(STORED_MARGIN):
        return Verdict.SAME
    if abs(shift) < _needed_shift(baseline):
        return Verdict.AMBIGUOUS
    return Verdict.SLOW if shift > 0 else Verdict.FAST


def _needed_shift(baseline: StoredBaseline) -> float:
    """The shift at which the modified z score, 0.6745 * shift / MAD, reaches 3.5."""
    centre = statistics.median(baseline.log_values)
    mad = statistics.median(abs(value - centre) for value in baseline.log_values)
    return MIN_MODIFIED_Z * mad / _MAD_OF_UNIT_NORMAL


def _detectable(baseline: StoredBaseline) -> float:
    return math.expm1(max(math.log1p(STORED_MARGIN), _needed_shift(baseline)))


def is_accepted(case: str, spec: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    """Whether a file measured this very case and found it right, and did not call it SLOW."""
    if not any(plan["name"] == case and plan["spec"] == spec for plan in document["cases"]):
        return False
    bad = {one.value for one in Verdict if one is Verdict.SLOW or not one.is_sound}
    return not any(row["case"] == case and row["verdict"] in bad for row in document.get("verdicts", []))
