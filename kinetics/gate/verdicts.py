"""From the evidence of a run to one verdict per case, and from all verdicts to an exit code. Pure.

Validity comes first: a wrong result, a time that the device cannot reach, or launches that others disturbed make a
case INVALID before any statistics. A case of which the machine is known to see too little is refused likewise.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kinetics.cost.kernels import Work
from kinetics.gate.decision import (
    MIN_LAUNCHES,
    MIN_MARGIN,
    Decision,
    Look,
    Verdict,
    decide,
    judge,
    look_at,
    needs_confirmation,
)
from kinetics.gate.error_rates import smallest_detectable
from kinetics.gate.evidence import BASE, CANDIDATE, CaseRun
from kinetics.gate.modes import two_modes
from kinetics.gate.sequential import SequentialDecision
from kinetics.gate.sequential import decide as decide_by_looks
from kinetics.prediction.roofline import predict
from kinetics.specs.ceilings import Ceilings

MIN_SHARE_OF_ROOF = 0.95
"""A call that takes less than this share of the time its bytes need at the fastest read seen did not do its work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePlan:
    """How one case is to be judged.

    `budget`: a slow-down below this is none; None in files from before it, whose cases were judged by two looks at
    fixed numbers of launches. `margin` and `known_detectable`, by which those were judged, come from this machine's
    `kinetics gate self-test`; without one they are 1 % and None. `residual_band`: where measured / predicted lay then.
    """

    name: str
    spec: dict[str, Any]
    detectable_budget: float
    margin: float = MIN_MARGIN
    known_detectable: float | None = None
    residual_band: tuple[float, float] | None = None
    budget: float | None = None

    @property
    def refusal(self) -> str | None:
        """Why the gate will not judge this case here; None if it will, as wherever it may ask on until it knows."""
        if self.budget is not None or self.known_detectable is None or self.known_detectable <= self.detectable_budget:
            return None
        return (
            f"this machine sees slow-downs from {100 * self.known_detectable:.1f} % on, "
            f"the case must show {100 * self.detectable_budget:.0f} %; quiet the machine, run kinetics gate self-test"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseVerdict:
    """The verdict on one case and what it rests on. `ratio`: candidate / baseline, with its one-sided 99 % bounds.

    `detectable`: the smallest slow-down that this many launches with this spread show with a power of 0.8, where their
    number is fixed. `budget`: where it is not.
    """

    case: str
    verdict: Verdict
    reason: str = ""
    ratio: float | None = None
    lower: float | None = None
    upper: float | None = None
    num_launches: int = 0
    num_launches_needed: int | None = None
    launch_sd: float | None = None
    detectable: float | None = None
    median_s: Mapping[str, float] = field(default_factory=dict)
    measured_over_predicted: float | None = None
    residual_band: tuple[float, float] | None = None
    budget: float | None = None

    @property
    def is_residual_outside(self) -> bool:
        """Whether measured / predicted left the band that identical code kept to."""
        if self.measured_over_predicted is None or self.residual_band is None:
            return False
        low, high = self.residual_band
        return not low <= self.measured_over_predicted <= high


def judge_case(plan: CasePlan, runs: Sequence[CaseRun], ceilings: Ceilings) -> CaseVerdict:
    """The verdict on one case from all its runs. `ceilings`: the fastest that this device was seen to go."""
    if plan.refusal:
        return CaseVerdict(case=plan.name, verdict=Verdict.INVALID, reason=plan.refusal)
    if refused := next((run for run in runs if run.refusals), None):
        return _judge_refusal(plan, refused, was_timed=any(run.median_s for run in runs))
    if reason := too_few(runs, look=1):
        return CaseVerdict(case=plan.name, verdict=Verdict.INVALID, reason=reason)
    timed = [run for run in runs if run.counts]
    if reason := too_fast(timed, ceilings):
        return CaseVerdict(case=plan.name, verdict=Verdict.INVALID, reason=reason, median_s=medians_s(timed))
    if plan.budget is not None:
        return _judge_by_looks(plan, timed, ceilings, budget=plan.budget)
    first, second = (log_ratios(runs, look=look) for look in (1, 2))
    reason = ""
    if needs_confirmation(first_verdict := judge(look_at(first), margin=plan.margin)):
        if reason := too_few(runs, look=2) or "":
            decision = Decision(verdict=Verdict.AMBIGUOUS, looks=(look_at(first),))
            reason = f"{first_verdict.value} at the first look, not confirmed: {reason}"
        else:
            decision = decide(first, second, margin=plan.margin)
            if decision.verdict is not first_verdict:
                reason = f"{first_verdict.value} at the first look, not at the second"
    else:
        decision = decide(first, None, margin=plan.margin)
    return _described(plan, decision, timed, ceilings, reason=reason)


def sequential_decision(runs: Sequence[CaseRun], *, budget: float) -> SequentialDecision:
    """What the launches of one case that count say so far."""
    return decide_by_looks([run.log_ratios[CANDIDATE] for run in runs if run.counts], budget=budget)


def _judge_by_looks(plan: CasePlan, timed: Sequence[CaseRun], ceilings: Ceilings, *, budget: float) -> CaseVerdict:
    decision = sequential_decision(timed, budget=budget)
    looked_at = timed[: decision.num_looked_at]
    look = look_at([run.log_ratios[CANDIDATE] for run in looked_at])
    left = decision.num_launches_left
    return CaseVerdict(
        case=plan.name,
        verdict=decision.verdict,
        reason="; ".join([*_remarks_on(decision, look, plan.margin), *_modes_of(looked_at)]),
        ratio=look.ratio,
        lower=math.exp(look.lower),
        upper=math.exp(look.upper),
        num_launches=look.num_launches,
        num_launches_needed=None if left is None else look.num_launches + left,
        launch_sd=look.sd,
        median_s=medians_s(timed),
        measured_over_predicted=statistics.median(measured_over_predicted(run, ceilings) for run in timed),
        residual_band=plan.residual_band,
        budget=budget,
    )


def _remarks_on(decision: SequentialDecision, look: Look, margin: float) -> list[str]:
    """What a verdict leaves unsaid."""
    if decision.verdict is Verdict.SAME:
        denied = [f"{decision.flagged.value} at first, denied by new launches"] if decision.flagged else []
        return denied + (["slower, within its budget"] if look.lower > math.log1p(margin) else [])
    if decision.is_decided:
        return []
    flagged = [f"{decision.flagged.value} at first, new launches do not tell yet"] if decision.flagged else []
    return [*flagged, "open when the launches ended"]


def _modes_of(runs: Sequence[CaseRun]) -> list[str]:
    """Two groups of launches, told; by their blocks, of which there are more, where files have them."""
    blocks = [value for run in runs for value in run.block_log_ratios.get(CANDIDATE, [run.log_ratios[CANDIDATE]])]
    found = two_modes(blocks)
    if found is None:
        return []
    low, high = (100 * math.expm1(centre) for centre in (found.low, found.high))
    return [f"two groups of launches, around {low:+.1f} % and {high:+.1f} %"]


def is_flagged(plan: CasePlan, runs: Sequence[CaseRun]) -> bool:
    """Whether a case needs its second look."""
    first = log_ratios(runs, look=1)
    return len(first) >= MIN_LAUNCHES and needs_confirmation(judge(look_at(first), margin=plan.margin))


def exit_code(verdicts: Sequence[CaseVerdict], *, is_strict: bool) -> int:
    """1 SLOW, WRONG, MISSING; 3 INVALID, INCOMPARABLE; 5, if strict, AMBIGUOUS or a residual outside its band; else 0.

    A run in which nothing could be compared, every case being NEW, is INVALID too: it shows nothing.
    """
    found = {verdict.verdict for verdict in verdicts}
    if found & {Verdict.SLOW, Verdict.WRONG, Verdict.MISSING}:
        return 1
    if found & {Verdict.INVALID, Verdict.INCOMPARABLE} or found <= {Verdict.NEW}:
        return 3
    is_open = Verdict.AMBIGUOUS in found or any(verdict.is_residual_outside for verdict in verdicts)
    return 5 if is_strict and is_open else 0


def fastest_seen(probed: Ceilings, runs: Sequence[CaseRun]) -> Ceilings:
    """The probed ceilings, the read ceiling raised to the fastest that any launch read between its calls.

    A probe on a busy machine measures too low a ceiling, and would call honest times impossible.
    """
    reads = [rate for run in runs for rate in run.canary_bytes_per_s.values()]
    return Ceilings(
        read_bytes_per_s=max([probed.read_bytes_per_s, *reads]),
        cached_read_bytes_per_s=probed.cached_read_bytes_per_s,
        copy_bytes_per_s=probed.copy_bytes_per_s,
        matmul_flop_per_s=probed.matmul_flop_per_s,
        launch_s=probed.launch_s,
        cache_bytes=probed.cache_bytes,
    )


def measured_over_predicted(run: CaseRun, ceilings: Ceilings) -> float:
    """The candidate's time over its prediction, memory being as fast as it was seen between these very calls."""
    memory_s = run.work["num_bytes"] / run.canary_bytes_per_s[CANDIDATE]
    compute_s = run.work["flop"] / ceilings.matmul_flop_per_s
    return run.median_s[CANDIDATE] / (run.work["num_launches"] * ceilings.launch_s + max(memory_s, compute_s))


def log_ratios(runs: Sequence[CaseRun], *, look: int) -> list[float]:
    """Theta of every launch of this look that counts."""
    return [run.log_ratios[CANDIDATE] for run in runs if run.look == look and run.counts]


def too_few(runs: Sequence[CaseRun], *, look: int) -> str | None:
    """Why the launches of a look are too few to judge by; None if they are enough."""
    of_look = [run for run in runs if run.look == look]
    num_counting = sum(run.counts for run in of_look)
    if num_counting >= MIN_LAUNCHES:
        return None
    why = Counter(run.disturbance for run in of_look if run.disturbance).most_common(1)
    return f"{num_counting} of {len(of_look)} launches count, {MIN_LAUNCHES} are needed" + (
        f": {why[0][0]}" if why else ""
    )


def medians_s(runs: Sequence[CaseRun]) -> dict[str, float]:
    """Median over launches of each side's time."""
    sides = runs[-1].median_s if runs else {}
    return {side: statistics.median(run.median_s[side] for run in runs) for side in sides}


def _judge_refusal(plan: CasePlan, run: CaseRun, *, was_timed: bool) -> CaseVerdict:
    """WRONG if the candidate is, NEW if only the baseline fails, MISSING if only the candidate cannot run it.

    A case that neither can run is INVALID; so is one that other launches of this run could time, unless it is WRONG.
    """
    reason = "; ".join(f"{side}: {why}" for side, why in run.refusals.items())
    if was_timed:
        reason = f"timed in other launches, but {reason}"
    if CANDIDATE in run.wrong_sides:
        verdict = Verdict.WRONG
    elif was_timed:
        verdict = Verdict.INVALID
    elif CANDIDATE not in run.refusals:
        verdict = Verdict.NEW
    elif BASE in run.refusals:
        verdict = Verdict.INVALID
    else:
        verdict = Verdict.MISSING
    return CaseVerdict(case=plan.name, verdict=verdict, reason=reason)


def too_fast(runs: Sequence[CaseRun], ceilings: Ceilings) -> str | None:
    """Why some side's times cannot be those of the work that was asked; None if they can."""
    work = runs[-1].work
    bound_s = predict(Work(flop=work["flop"], num_bytes=work["num_bytes"]), ceilings, num_launches=0).bound_s
    for side, seconds in medians_s(runs).items():
        if seconds < MIN_SHARE_OF_ROOF * bound_s:
            return f"{side}: {seconds:.3g} s is faster than its work allows at the measured ceiling, {bound_s:.3g} s"
    return None


def _described(
    plan: CasePlan, decision: Decision, timed: Sequence[CaseRun], ceilings: Ceilings, *, reason: str
) -> CaseVerdict:
    look = decision.looks[0] if len(decision.looks) == 1 else look_at([run.log_ratios[CANDIDATE] for run in timed])
    return CaseVerdict(
        case=plan.name,
        verdict=decision.verdict,
        reason=reason,
        ratio=look.ratio,
        lower=math.exp(look.lower),
        upper=math.exp(look.upper),
        num_launches=look.num_launches,
        num_launches_needed=decision.num_launches_needed,
        launch_sd=look.sd,
        detectable=smallest_detectable(look.sd, num_launches=decision.looks[0].num_launches, margin=plan.margin),
        median_s=medians_s(timed),
        measured_over_predicted=statistics.median(measured_over_predicted(run, ceilings) for run in timed),
        residual_band=plan.residual_band,
    )
