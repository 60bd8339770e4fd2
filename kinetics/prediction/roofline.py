"""Seconds from counts: work against measured ceilings, and the two-number calibration.

Pure arithmetic. The ceilings come from `kinetics.machine.probe` or from a datasheet; the work comes from
`kinetics.cost.kernels`.

    predicted_s  = overhead_s + max(bytes / bytes_per_s, flop / flop_per_s)
    calibrated_s = t0 + (the same maximum) / efficiency

t0 and efficiency are fitted per (provider, operation) on every other case and judged on the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kinetics.cost.kernels import Work
from kinetics.specs.ceilings import Ceilings


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Predicted time of one call, and which resource sets it."""

    overhead_s: float
    memory_s: float
    compute_s: float

    @property
    def bound_s(self) -> float:
        """The time of the scarcest resource, launch overhead apart."""
        return max(self.memory_s, self.compute_s)

    @property
    def total_s(self) -> float:
        """Predicted time of the call."""
        return self.overhead_s + self.bound_s

    @property
    def bound_by(self) -> str:
        """What most of the time goes into: "launch", "memory" or "compute"."""
        if self.overhead_s > self.bound_s:
            return "launch"
        return "memory" if self.memory_s >= self.compute_s else "compute"


def predict(work: Work, ceilings: Ceilings, *, num_launches: int, is_warm: bool = False) -> Prediction:
    """Time of `num_launches` dependent launches that together do `work`."""
    return Prediction(
        overhead_s=num_launches * ceilings.launch_s,
        memory_s=work.num_bytes / ceilings.bytes_per_s(work.num_bytes, is_warm=is_warm),
        compute_s=work.flop / ceilings.matmul_flop_per_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPrediction:
    """Predicted time of a sequence of parts, each at its own roof: none hides behind another."""

    overhead_s: float
    part_s: Mapping[str, float]

    @property
    def bound_s(self) -> float:
        """The roofs of all parts, one after the other, launch overhead apart."""
        return sum(self.part_s.values())

    @property
    def total_s(self) -> float:
        """Predicted time of the step."""
        return self.overhead_s + self.bound_s

    @property
    def bound_by(self) -> str:
        """The part that most of the time goes into, or "launch"."""
        return max({"launch": self.overhead_s, **self.part_s}.items(), key=lambda part: part[1])[0]


def predict_parts(
    parts: Mapping[str, Work],
    ceilings: Ceilings,
    *,
    num_launches: int,
    link_bytes_per_s: float | None = None,
    waiting_s: float = 0.0,
) -> StepPrediction:
    """Time of parts that follow each other; `all_reduce` moves at `link_bytes_per_s`, the rest in memory, cold.

    `waiting_s`: what all collectives of the step take however little they move, on top of their bytes.

    Raises: ValueError if there is an all-reduce and no link to carry it.
    """
    part_s = {}
    for name, work in parts.items():
        rate = ceilings.read_bytes_per_s
        if name == "all_reduce":
            if link_bytes_per_s is None:
                raise ValueError("link_bytes_per_s must be given for several devices, got None; see the data sheet")
            rate = link_bytes_per_s
        part_s[name] = max(work.num_bytes / rate, work.flop / ceilings.matmul_flop_per_s)
    if "all_reduce" in part_s:
        part_s["all_reduce"] += waiting_s
    return StepPrediction(overhead_s=num_launches * ceilings.launch_s, part_s=part_s)
