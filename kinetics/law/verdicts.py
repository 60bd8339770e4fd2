"""Verdicts on published claims: a number found, held against the published one by the claim's rule.

A claim that fails fails, whatever it rests on. One that is met holds, with a caveat where a fair reader should know
more, and is called not independent where it restates its own source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kinetics.law.claims import CHECKS, Evidence
from kinetics.law.other_claims import OTHER_CHECKS
from kinetics.law.published import ClaimData, ClaimStatus, PublishedClaim, Rule, read_others_figures


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedClaim:
    """A published number, the number found, the verdict, and what it was judged by."""

    claim: PublishedClaim
    found: float | None
    status: ClaimStatus
    data: ClaimData

    @property
    def has_changed(self) -> bool:
        """Whether the verdict differs from the recorded one, other than by evidence that is or was missing."""
        lacks_evidence = ClaimStatus.NEEDS_DATA in (self.status, self.claim.expected)
        return self.status is not self.claim.expected and not lacks_evidence

    @property
    def caveat(self) -> str:
        """What the claim's row says beside the verdict; samples of one's own have none of it."""
        return self.claim.caveat if self.data is self.claim.data else ""

    @property
    def rule(self) -> str:
        """The rule in words."""
        claim = self.claim
        if claim.rule is Rule.WITHIN:
            return f"within {claim.tolerance:g}" if claim.tolerance else "equal"
        slack = f", less {claim.tolerance:g}" if claim.rule is Rule.AT_LEAST else f", plus {claim.tolerance:g}"
        return f"{claim.rule.value} {claim.published:g}" + (slack if claim.tolerance else "")


def check_claims(claims: Sequence[PublishedClaim], evidence: Evidence) -> tuple[CheckedClaim, ...]:
    """A verdict on every claim."""
    return tuple(check_claim(claim, evidence) for claim in claims)


def check_claim(claim: PublishedClaim, evidence: Evidence) -> CheckedClaim:
    """A verdict on one claim: its key names the check, and after colons the check's arguments.

    What samples say comes first, then what can be computed, then what others have published.
    """
    name, *arguments = claim.key.split(":")
    data, found = claim.data, evidence.numbers.get(claim.key)
    if found is not None:
        data = ClaimData.SAMPLES
    elif check := {**CHECKS, **OTHER_CHECKS}.get(name):
        found = check(evidence, arguments)
        is_of_samples = claim.data is ClaimData.CURVES and not evidence.is_papers
        data = ClaimData.SAMPLES if is_of_samples else claim.data
    if found is None and claim.data is ClaimData.OTHERS:
        found, data = read_others_figures().get(claim.key), claim.data
    return CheckedClaim(claim=claim, found=found, status=_status(claim, found, data), data=data)


def is_met(claim: PublishedClaim, found: float) -> bool:
    """Whether a number bears a claim out."""
    slack = claim.tolerance * (1 + 1e-12)
    match claim.rule:
        case Rule.AT_LEAST:
            return found >= claim.published - slack
        case Rule.AT_MOST:
            return found <= claim.published + slack
    return abs(found - claim.published) <= slack


def _status(claim: PublishedClaim, found: float | None, data: ClaimData) -> ClaimStatus:
    if found is None:
        return ClaimStatus.NEEDS_DATA
    if not is_met(claim, found):
        return ClaimStatus.FAILS
    if data is not claim.data:
        return ClaimStatus.HOLDS
    if claim.restates:
        return ClaimStatus.NOT_INDEPENDENT
    return ClaimStatus.HOLDS_WITH_CAVEAT if claim.caveat else ClaimStatus.HOLDS
