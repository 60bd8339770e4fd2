"""What one launch says of one case: a plain record that goes to the journal and comes back from a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

BASE = "base"
CANDIDATE = "candidate"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRun:
    """One case in one launch. Mappings go by side.

    `look`: 1, or 2 for a launch that confirms. `log_ratios`: theta against the base, of every other side.
    `refusals`: why a side cannot run the case, or computes it wrongly; then nothing was timed. `disturbance`: why this
    launch does not count, None if it does. `work`: bytes, FLOP and launches of the call, by the last side's count.
    `block_log_ratios`: theta of each allocation's rounds alone.
    """

    case: str
    look: int
    launch: int
    first_side: str
    median_s: dict[str, float] = field(default_factory=dict)
    canary_bytes_per_s: dict[str, float] = field(default_factory=dict)
    log_ratios: dict[str, float] = field(default_factory=dict)
    max_abs_error: dict[str, float] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    wrong_sides: list[str] = field(default_factory=list)
    work: dict[str, int] = field(default_factory=dict)
    others_cpu_share: float | None = None
    disturbance: str | None = None
    block_log_ratios: dict[str, list[float]] = field(default_factory=dict)

    @property
    def counts(self) -> bool:
        """Whether this launch was timed and nothing disturbed it."""
        return not self.refusals and self.disturbance is None

    def as_row(self) -> dict[str, Any]:
        """Plain types for a file."""
        return asdict(self)


def case_run(row: Mapping[str, Any]) -> CaseRun:
    """The record that `as_row` wrote.

    Raises: ValueError if the row is no such record.
    """
    try:
        return CaseRun(**row)
    except TypeError as error:
        raise ValueError(f"a run of the gate must have the fields of CaseRun, got {sorted(row)} ({error})") from None
