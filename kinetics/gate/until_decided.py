"""Launches until every case is decided or the minutes are spent: which cases go on, and what is said meanwhile."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kinetics.gate.decision import MIN_LAUNCHES, Verdict, look_at
from kinetics.gate.evidence import CANDIDATE, CaseRun
from kinetics.gate.launch import LaunchCase
from kinetics.gate.session import Session
from kinetics.gate.verdicts import CasePlan, sequential_decision

MAX_DISTURBED = 8
"""More launches that others disturbed than ones that count, and this many, end the asking: the machine is taken."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a run may ask on: seconds altogether, and launches of one case."""

    seconds: float
    max_launches: int


def take_until_decided(
    session: Session,
    cases: Sequence[LaunchCase],
    plans: Sequence[CasePlan],
    patience: Patience,
    *,
    clock: Clock = time.monotonic,
) -> None:
    """Launch the cases that are open, again and again. The last launch is one that would end in time.

    Raises: WorkerLost, KeyboardInterrupt.
    """
    budgets = {plan.name: plan.budget for plan in plans}
    started, case_s = clock(), 0.0
    open_cases = list(cases)
    while open_cases:
        left_s = patience.seconds - (clock() - started)
        if case_s and case_s * len(open_cases) > left_s:
            session.say(f"the time is up: {len(open_cases)} of {len(cases)} cases are open")
            return
        session.say(f"{len(open_cases)} of {len(cases)} cases are open, {left_s / 60:.1f} minutes left")
        before = clock()
        session.launch(open_cases, look=1)
        case_s = _least(case_s, (clock() - before) / len(open_cases))
        decided = [case for case in open_cases if not is_open(session, case.name, budgets, patience)]
        for case in decided:
            session.say(_found(case.name, session.of_case(case.name), budgets))
        open_cases = [case for case in open_cases if case not in decided]


def is_open(session: Session, case: str, budgets: Mapping[str, float | None], patience: Patience) -> bool:
    """Whether another launch of this case can tell more."""
    runs, budget = session.of_case(case), budgets[case]
    num_counting = sum(run.counts for run in runs)
    if budget is None or any(run.refusals for run in runs) or num_counting >= patience.max_launches:
        return False
    if len(runs) - num_counting >= MAX_DISTURBED + num_counting:
        return False
    return sequential_decision(runs, budget=budget).num_launches_next is not None


def _found(case: str, runs: Sequence[CaseRun], budgets: Mapping[str, float | None]) -> str:
    """One line on a case that is launched no more."""
    if refused := next((run for run in runs if run.refusals), None):
        return f"{case}: cannot be timed, {'; '.join(refused.refusals.values())}"
    values, budget = [run.log_ratios[CANDIDATE] for run in runs if run.counts], budgets[case]
    if budget is None or len(values) < MIN_LAUNCHES:
        return f"{case}: others disturbed {len(runs) - len(values)} of {len(runs)} launches"
    verdict = sequential_decision(runs, budget=budget).verdict
    word = "open" if verdict is Verdict.AMBIGUOUS else verdict.value
    return f"{case}: {word}, {100 * math.expm1(look_at(values).mean):+.1f} % after {len(values)} launches"


def _least(known_s: float, seen_s: float) -> float:
    """What a case takes in a launch: the first one compiles, and tells too much."""
    return min(known_s, seen_s) if known_s else seen_s
