"""What launches of identical code (A/A) say about the gate on this machine: its error rates, and what it can see.

Pure arithmetic over records; how they are made is `kinetics.gate.session`'s business.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scipy import stats

from kinetics.gate.cases import GateCase
from kinetics.gate.error_rates import (
    confirmed_rate,
    cross_fitted,
    first_look_rate,
    measured_margin,
    smallest_detectable,
)
from kinetics.gate.evidence import CaseRun, case_run
from kinetics.gate.stored import machine_difference
from kinetics.gate.verdicts import CasePlan, fastest_seen, log_ratios, measured_over_predicted
from kinetics.specs.ceilings import Ceilings

MIN_RESIDUAL_BAND = 0.10
_SEED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfTest:
    """One case of an A/A run. Rates are shares of decisions of identical code that say SLOW.

    Each half of the launches is judged at the margin that the other half asks for; `margin` itself is from all.
    """

    case: str
    num_launches: int
    mean: float
    launch_sd: float
    margin: float
    detectable: float
    first_look_false_alarms: float
    confirmed_false_alarms: float
    residual_band: tuple[float, float]


def self_test(case: str, runs: Sequence[CaseRun], ceilings: Ceilings, *, num_launches: int) -> SelfTest:
    """Error rates of one case, for decisions of `num_launches` launches a look.

    Raises: ValueError with fewer counting launches than two looks take.
    """
    counting = [run for run in runs if run.case == case and run.counts]
    values = log_ratios(counting, look=1)
    margin = measured_margin(values, num_launches=num_launches, seed=_SEED)
    rates = {"num_launches": num_launches, "seed": _SEED}
    launch_sd = statistics.stdev(values)
    return SelfTest(
        case=case,
        num_launches=len(values),
        mean=statistics.fmean(values),
        launch_sd=launch_sd,
        margin=margin,
        detectable=smallest_detectable(launch_sd, num_launches=num_launches, margin=margin),
        first_look_false_alarms=cross_fitted(first_look_rate, values, **rates),
        confirmed_false_alarms=cross_fitted(confirmed_rate, values, **rates),
        residual_band=residual_band([measured_over_predicted(run, ceilings) for run in counting]),
    )


def residual_band(residuals: Sequence[float]) -> tuple[float, float]:
    """Where measured / predicted of 99 % of further launches would lie, if log-normal; never narrower than 10 %."""
    logs = [math.log(value) for value in residuals]
    centre, count = statistics.fmean(logs), len(logs)
    spread = float(stats.t.ppf(0.995, count - 1)) * statistics.stdev(logs) * math.sqrt(1 + 1 / count)
    half_width = max(spread, math.log1p(MIN_RESIDUAL_BAND))
    return math.exp(centre - half_width), math.exp(centre + half_width)


def case_plans(
    cases: Sequence[GateCase], document: Mapping[str, Any] | None, machine: Mapping[str, Any], *, num_launches: int
) -> tuple[list[CasePlan], str | None]:
    """How each case is to be judged, given this machine's A/A file; and what that file tells nothing of, None if all.

    Of it come the bands of measured / predicted alone: each case's own launches tell how much they spread today. A case
    that it lacks, has in another form, or has too few launches of, is judged as on an unknown machine.
    """
    unmeasured = "measured / predicted has no band: "
    why_not = f"{unmeasured}kinetics gate self-test has not run on this machine" if document is None else None
    if document is not None and (difference := machine_difference(machine, document["machine_info"])):
        why_not = f"{unmeasured}the stored self-test is of another setting: {difference}"
    if document is None or why_not:
        return [plan_for(one) for one in cases], why_not
    same = {plan["name"] for plan in document["cases"] if plan["spec"] in [case.spec for case in cases]}
    known = {test.case: test for test in self_tests(document, num_launches=num_launches) if test.case in same}
    if unknown := [case.name for case in cases if case.name not in known]:
        why_not = (
            f"measured / predicted has no band of {', '.join(unknown)}: the stored self-test has not "
            f"{2 * num_launches} launches of them that count; the others are judged by it"
        )
    return [_planned(case, known.get(case.name)) for case in cases], why_not


def plan_for(case: GateCase) -> CasePlan:
    """How a case is judged on a machine of which nothing is known."""
    return CasePlan(name=case.name, spec=case.spec, detectable_budget=case.detectable_budget, budget=case.budget)


def self_tests(document: Mapping[str, Any], *, num_launches: int) -> list[SelfTest]:
    """Every case of an A/A file that has launches enough for two looks."""
    runs = [case_run(row) for row in document["runs"]]
    ceilings = fastest_seen(Ceilings(**document["ceilings"]), runs)
    names = [plan["name"] for plan in document["cases"]]
    counts = {name: sum(run.case == name and run.counts for run in runs) for name in names}
    return [
        self_test(name, runs, ceilings, num_launches=num_launches) for name in names if counts[name] >= 2 * num_launches
    ]


def _planned(case: GateCase, known: SelfTest | None) -> CasePlan:
    plan = plan_for(case)
    return plan if known is None else replace(plan, residual_band=known.residual_band)
