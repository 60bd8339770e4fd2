"""A second witness on CPUs: the instructions that each compiled kernel of a case executes, in both revisions.

Counts do not depend on what else the machine does, so that a kernel that grew is found where the clock sees nothing.
It works one way only: more instructions make a case SLOW, fewer of them never make it FAST, and none a case that the
clock shows to be FAST slow. Counting itself is `kinetics.gate.witness.instructions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from kinetics.gate.decision import Verdict
from kinetics.gate.evidence import BASE, CANDIDATE
from kinetics.gate.identity import Specs, ask_both
from kinetics.gate.verdicts import CaseVerdict

BUDGET = 0.01
"""Growth of a kernel's instructions below this is none."""
_OUTVOTED = (Verdict.SAME, Verdict.AMBIGUOUS, Verdict.INVALID, Verdict.SLOW)
"""What the clock may say of a case whose instructions grew for it to be SLOW. A case that was counted was proved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """Instructions of one call by kernel, on either side; or, in a line, why they were not counted."""

    base: dict[str, int] = field(default_factory=dict)
    candidate: dict[str, int] = field(default_factory=dict)
    reason: str | None = None


def instructions(roots: Mapping[str, Path], device: str, specs: Specs) -> dict[str, Instructions]:
    """Of every case, counted in both checkouts at the same time."""
    answers = ask_both("instructions", roots, device, specs)
    return {name: _counted(answers[BASE][name], answers[CANDIDATE][name]) for name in specs}


def growth(found: Instructions, *, budget: float = BUDGET) -> str | None:
    """By how much the instructions of a case grew, in words; None if by no more than the budget.

    A kernel's growth counts if it has a namesake in the base, and other kernels do not give half of it back.
    """
    if found.reason or not found.base or not found.candidate:
        return None
    before, after = sum(found.base.values()), sum(found.candidate.values())
    grown = [("all kernels", before, after)]
    grown += [(name, found.base[name], count) for name, count in found.candidate.items() if name in found.base]
    for name, base, candidate in grown:
        is_kept = 2 * (after - before) >= candidate - base
        if base > 0 and candidate > (1 + budget) * base and is_kept:
            return f"instructions of {name}: {100 * (candidate / base - 1):+.1f} %"
    return None


def with_instructions(verdict: CaseVerdict, found: Instructions | None) -> CaseVerdict:
    """The verdict of the clock, or SLOW (instructions) if they grew and the clock does not know better."""
    why = growth(found) if found else None
    if why is None or verdict.verdict not in _OUTVOTED:
        return verdict
    clock = f"the clock: {verdict.verdict.value}" + (f", {verdict.reason}" if verdict.reason else "")
    return replace(verdict, verdict=Verdict.SLOW, reason=f"{why}; {clock}")


def _counted(base: dict[str, int] | str, candidate: dict[str, int] | str) -> Instructions:
    for side, found in ((BASE, base), (CANDIDATE, candidate)):
        if isinstance(found, str):
            return Instructions(reason=f"instructions of the {side} are not counted: {found}")
    assert not isinstance(base, str)
    assert not isinstance(candidate, str)
    return Instructions(base=base, candidate=candidate)
