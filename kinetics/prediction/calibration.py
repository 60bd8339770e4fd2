"""The two-number calibration: a fixed time and an efficiency, fitted on every other case and judged on the rest.

calibrated_s = t0 + bound_s / efficiency
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MIN_FIT_CASES = 2
SAME_SHAPE = 1.05

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What separates one implementation from the roof: a fixed time, and the share of the roof that it reaches."""

    overhead_s: float
    efficiency: float

    def total_s(self, bound_s: float) -> float:
        """Calibrated time of a call whose scarcest resource needs `bound_s`."""
        return self.overhead_s + bound_s / self.efficiency

    def as_dict(self) -> dict[str, float]:
        """As a result file holds it."""
        return {"overhead_s": self.overhead_s, "efficiency": self.efficiency}


def fit_calibration(bound_s: Sequence[float], measured_s: Sequence[float]) -> Calibration:
    """The non-negative overhead and efficiency that minimise relative error, outliers damped.

    Raises: ValueError with fewer than two cases, or if no efficiency explains them.
    """
    from scipy.optimize import least_squares

    if len(bound_s) != len(measured_s) or len(bound_s) < MIN_FIT_CASES:
        raise ValueError(
            f"a calibration needs at least {MIN_FIT_CASES} cases, got {len(bound_s)} and {len(measured_s)}"
        )
    bound, measured = np.asarray(bound_s), np.asarray(measured_s)
    start = [0.5 * measured.min(), 0.5 * float(np.median(measured / bound))]

    def relative_error(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray((x[0] + x[1] * bound) / measured - 1.0)

    solved = least_squares(
        relative_error,
        start,
        bounds=([0.0, 0.0], np.inf),
        x_scale=start,
        loss="soft_l1",
        f_scale=0.1,
    )
    overhead_s, slowdown = (float(value) for value in solved.x)
    if slowdown <= 0.0:
        raise ValueError("measured times do not grow with the work; no efficiency explains them")
    return Calibration(overhead_s=overhead_s, efficiency=1.0 / slowdown)


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


def calibrate(rows: Sequence[Row]) -> dict[str, Calibration]:
    """Fit each provider and operation on every other of its rows and write both into all of them.

    Rows replayed from a graph (in either layout of the cache), eager ones and warm ones are fitted apart: what a launch
    costs, and where the data lies, is not the same in them. Returns the calibrations by "provider/operation", with
    "_graph", "_hnd" or "_warm" behind. Groups with fewer than two shapes to fit keep `calibrated_s` None.
    Whole decode steps are left to `kinetics.prediction.step_calibration`.
    """
    kernels = [row for row in rows if "predicted_roof_s" in row and "predicted_part_s" not in row]
    fitted = {}
    for name, group in group_rows(kernels, _kernel_name).items():
        for row, role in zip(group, alternate_roles([row["predicted_s"] for row in group]), strict=True):
            row["calibration_role"] = role
        fit = [row for row in group if row["calibration_role"] == "fit"]
        bounds_s = [_bound_s(row) for row in fit]
        if len(fit) < MIN_FIT_CASES or max(bounds_s) < SAME_SHAPE * min(bounds_s):
            continue  # one shape cannot tell a fixed time from an efficiency
        calibration = fit_calibration(bounds_s, [row["median_s"] for row in fit])
        for row in group:
            row["calibrated_s"] = calibration.total_s(_bound_s(row))
        fitted[name] = calibration
    return fitted


def calibration_errors(rows: Iterable[Mapping[str, Any]], role: str) -> list[float]:
    """|calibrated / measured - 1| of the rows with this role that have a calibrated time."""
    return [
        abs(row["calibrated_s"] / row["median_s"] - 1.0)
        for row in rows
        if row.get("calibration_role") == role and row.get("calibrated_s") is not None
    ]


def seen_over_ceiling(row: Mapping[str, Any]) -> float:
    """How much longer memory took while the row was measured than at the ceiling; 1 where nobody looked.

    Neighbours on a shared machine take bandwidth from one minute to the next. The evicting stream between the samples
    sees it, and knows nothing of the case.
    """
    canary = row.get("canary_bytes_per_s")
    return float(row["ceiling_bytes_per_s"] / canary) if canary else 1.0


def group_rows(rows: Iterable[Row], key: Callable[[Row], str]) -> dict[str, list[Row]]:
    """Rows by key, in order."""
    groups = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def _kernel_name(row: Row) -> str:
    parts = [f"{row['provider']}/{row['operation']}"]
    parts += ["graph"] if row.get("graph") else []
    parts += ["hnd"] if row.get("graph") and row.get("kv_layout") == "hnd" else []
    parts += ["warm"] if row.get("cache_state") == "warm" else []
    return "_".join(parts)


def _bound_s(row: Row) -> float:
    """The roofline bound of a kernel row at the bandwidth of the moment."""
    is_memory_bound = row.get("predicted_bound") != "compute"
    return float(row["predicted_roof_s"]) * (seen_over_ceiling(row) if is_memory_bound else 1.0)
