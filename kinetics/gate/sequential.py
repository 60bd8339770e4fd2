"""When to stop launching a case, and what to say of it: looks at growing numbers of launches against a budget. Pure.

A look takes the one-sided 99 % t bounds of `kinetics.gate.decision` on all launches of its run. SAME: both bounds lie
within the budget (two one-sided tests, TOST), so the case is neither slower nor faster by that much. SLOW or FAST: a
bound lies beyond the margin. The first look that says one of these ends the run of looks. SAME is final; SLOW and
FAST must be said again by a second run of looks at new launches alone.

Errors, for launches that are normal and independent: a look errs in at most 1 %, a run of looks in at most 7 % of
cases that lie exactly on the boundary, where the sum over the seventeen looks would allow 17 %. A false SLOW must
happen twice: 0.6 % if the case is slower by just the margin, 0.05 % if it is unchanged, at any spread up to 6 %. A
case that is slower by exactly its budget is called SAME in at most 12 %. `scripts/simulate_gate.py` simulates
these; `scripts/gate_study.py` draws them from stored launches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kinetics.gate.decision import MIN_LAUNCHES, MIN_MARGIN, Look, Verdict, look_at

RULE = "sequential-1"
"""Names these looks and what they say: a file that was made by another rule is another's to judge."""
LOOKS = (4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 200)
"""Launches of a run after which it is looked at: each number a quarter to a half above the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SequentialDecision:
    """What the launches so far say of one case; AMBIGUOUS as long as they do not decide.

    `flagged`: SLOW or FAST, if an earlier run of looks said so. `num_looked_at`: launches that the verdict rests on,
    all runs together. `num_launches_next`: at how many the next look is due. `num_launches_left`: how many more would
    decide, mean and spread staying as they are. The last two are None where the case is decided, or where even the
    last look does not tell.
    """

    verdict: Verdict
    flagged: Verdict | None
    num_looked_at: int
    num_launches_next: int | None = None
    num_launches_left: int | None = None

    @property
    def is_decided(self) -> bool:
        """Whether no further launch can change the verdict."""
        return self.verdict is not Verdict.AMBIGUOUS


def decide(
    log_ratios: Sequence[float], *, budget: float, margin: float = MIN_MARGIN, looks: Sequence[int] = LOOKS
) -> SequentialDecision:
    """The verdict on one case from the log-ratios of its launches, in the order in which they were taken.

    `budget`: a slow-down below this is none (0.05 is 5 %). Launches after those that decided are not looked at.
    Raises: ValueError if the budget does not exceed the margin, or a launch is not finite.
    """
    check_budget(budget, margin)
    if not all(math.isfinite(one) for one in log_ratios):
        raise ValueError(f"log-ratios must be finite, got {list(log_ratios)}")
    flagged, start = None, 0
    while crossing := _first_crossing(log_ratios[start:], budget, margin, looks):
        verdict, num_launches = crossing
        start += num_launches
        if verdict in (Verdict.SAME, flagged):
            return SequentialDecision(verdict=verdict, flagged=flagged, num_looked_at=start)
        flagged = verdict
    run = log_ratios[start:]
    due = next((count for count in looks if count > len(run)), None)
    return SequentialDecision(
        verdict=Verdict.AMBIGUOUS,
        flagged=flagged,
        num_looked_at=len(log_ratios),
        num_launches_next=None if due is None else start + due,
        num_launches_left=_launches_left(run, budget, margin, looks, is_confirming=flagged is not None),
    )


def judge_within(look: Look, *, budget: float, margin: float) -> Verdict:
    """SAME, SLOW, FAST or AMBIGUOUS by one look alone. What lies within the budget is SAME, however exactly known."""
    limit, noticeable = math.log1p(budget), math.log1p(margin)
    if -limit < look.lower and look.upper < limit:
        return Verdict.SAME
    if look.lower > noticeable:
        return Verdict.SLOW
    return Verdict.FAST if look.upper < -noticeable else Verdict.AMBIGUOUS


def check_budget(budget: float, margin: float = MIN_MARGIN) -> None:
    """Raises: ValueError unless a slow-down by the budget can be told from one by the margin."""
    if not margin < budget < math.inf:
        raise ValueError(f"a case's budget must exceed the margin of {100 * margin:g} %, got {100 * budget:g} %")


def _first_crossing(
    run: Sequence[float], budget: float, margin: float, looks: Sequence[int]
) -> tuple[Verdict, int] | None:
    """The first verdict of a run of looks and after how many launches; None if there is none yet."""
    for count in looks:
        if count > len(run):
            return None
        verdict = judge_within(look_at(run[:count]), budget=budget, margin=margin)
        if verdict is not Verdict.AMBIGUOUS:
            return verdict, count
    return None


def _launches_left(
    run: Sequence[float], budget: float, margin: float, looks: Sequence[int], *, is_confirming: bool
) -> int | None:
    if len(run) < MIN_LAUNCHES:
        return looks[0] - len(run)
    seen = look_at(run)
    for count in (count for count in looks if count > len(run)):
        verdict = judge_within(seen.after(count), budget=budget, margin=margin)
        if verdict is not Verdict.AMBIGUOUS:
            needs_second_run = verdict is not Verdict.SAME and not is_confirming
            return count - len(run) + (count if needs_second_run else 0)
    return None
