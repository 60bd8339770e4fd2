"""Seconds from counts: work against measured ceilings, and the two-number calibration.

Pure arithmetic. The ceilings come from `kinetics.probe` or from a datasheet; the work comes from `kinetics.cost`.

    predicted_s  = overhead_s + max(bytes / bytes_per_s, flop / flop_per_s)
    calibrated_s = t0 + (the same maximum) / efficiency

t0 and efficiency are fitted per (provider, operation) on every other case and judged on the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kinetics.cost import Work

MIN_FIT_CASES = 2
SAME_SHAPE = 1.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """The fastest this device was seen to go.

    `cached_read_bytes_per_s` holds for data that stays in the last-level cache (`cache_bytes`). `launch_s` is the
    time of a call on one element: of torch on a CPU, inside a graph on a GPU.
    """

    read_bytes_per_s: float
    cached_read_bytes_per_s: float
    copy_bytes_per_s: float
    matmul_flop_per_s: float
    launch_s: float
    cache_bytes: int

    def bytes_per_s(self, num_bytes: int, *, is_warm: bool) -> float:
        """The bandwidth roof of a call that moves `num_bytes`: the cache's only if warm and it fits in half of it."""
        fits = is_warm and num_bytes <= self.cache_bytes // 2
        return self.cached_read_bytes_per_s if fits else self.read_bytes_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Predicted time of one call, and which resource sets it."""

    overhead_s: float
    memory_s: float
    compute_s: float

    @property
    def roof_s(self) -> float:
        """The time of the scarcest resource, launch overhead apart."""
        return max(self.memory_s, self.compute_s)

    @property
    def total_s(self) -> float:
        """Predicted time of the call."""
        return self.overhead_s + self.roof_s

    @property
    def bound(self) -> str:
        """What most of the time goes into: "launch", "memory" or "compute"."""
        if self.overhead_s > self.roof_s:
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
    def roof_s(self) -> float:
        """The roofs of all parts, one after the other, launch overhead apart."""
        return sum(self.part_s.values())

    @property
    def total_s(self) -> float:
        """Predicted time of the step."""
        return self.overhead_s + self.roof_s

    @property
    def bound(self) -> str:
        """The part that most of the time goes into, or "launch"."""
        return max({"launch": self.overhead_s, **self.part_s}.items(), key=lambda part: part[1])[0]


def predict_parts(
    parts: Mapping[str, Work], ceilings: Ceilings, *, num_launches: int, link_bytes_per_s: float | None = None
) -> StepPrediction:
    """Time of parts that follow each other; `all_reduce` moves at `link_bytes_per_s`, the rest in memory, cold.

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
    return StepPrediction(overhead_s=num_launches * ceilings.launch_s, part_s=part_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What separates one implementation from the roof: a fixed time, and the share of the roof that it reaches."""

    overhead_s: float
    efficiency: float

    def total_s(self, roof_s: float) -> float:
        """Calibrated time of a call whose scarcest resource needs `roof_s`."""
        return self.overhead_s + roof_s / self.efficiency

    def as_dict(self) -> dict[str, float]:
        """As a result file holds it."""
        return {"overhead_s": self.overhead_s, "efficiency": self.efficiency}


def fit_calibration(roof_s: Sequence[float], measured_s: Sequence[float]) -> Calibration:
    """The non-negative overhead and efficiency that minimise relative error, outliers damped.

    Raises: ValueError with fewer than two cases, or if no efficiency explains them.
    """
    from scipy.optimize import least_squares

    if len(roof_s) != len(measured_s) or len(roof_s) < MIN_FIT_CASES:
        raise ValueError(f"a calibration needs at least {MIN_FIT_CASES} cases, got {len(roof_s)} and {len(measured_s)}")
    roof, measured = np.asarray(roof_s), np.asarray(measured_s)
    start = [0.5 * measured.min(), 0.5 * float(np.median(measured / roof))]

    def relative_error(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray((x[0] + x[1] * roof) / measured - 1.0)

    solved = least_squares(
        relative_error,
        start,
        bounds=([0.0, 0.0], np.inf),
        x_scale=start,
        loss="soft_l1",
        f_scale=0.1,
    )
    overhead_s, roofs_needed = (float(value) for value in solved.x)
    if roofs_needed <= 0.0:
        raise ValueError("measured times do not grow with the work; no efficiency explains them")
    return Calibration(overhead_s=overhead_s, efficiency=1.0 / roofs_needed)


def alternate_roles(predicted_s: Sequence[float]) -> list[str]:
    """ "fit" or "held_out" for each case: every other one in order of predicted time is fitted, the rest judge.

    The order is that of the prediction, so that no measured time decides which cases judge it. Cases that are
    predicted alike share a role: a twin of a fitted case would judge nothing.
    """
    order = sorted(range(len(predicted_s)), key=lambda i: (predicted_s[i], i))
    roles = [""] * len(predicted_s)
    rank, first_s = 0, predicted_s[order[0]] if order else 0.0
    for i in order:
        if predicted_s[i] > SAME_SHAPE * first_s:
            rank, first_s = rank + 1, predicted_s[i]
        roles[i] = "held_out" if rank % 2 else "fit"
    return roles
