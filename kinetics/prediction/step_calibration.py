"""What separates whole decode steps from their roofs: one number per kind of part, fitted over all steps of an engine.

Pure arithmetic over rows. Weights stream nearly as fast as memory gives, attention does not: one efficiency for both
would be wrong wherever their shares change. So a step is

    calibrated_s = launch_s * launches + sum over its parts of slowdown[part] * (the part's roof)

where attention under each policy is a part of its own. Fitted on every other step and judged on the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kinetics.prediction.calibration import Row, alternate_roles, group_rows, seen_over_ceiling

LAUNCH = "launch"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCalibration:
    """Seconds per launch, and measured over roof time for each kind of part."""

    launch_s: float
    slowdown: Mapping[str, float]

    def total_s(self, features: Mapping[str, float]) -> float:
        """Calibrated time of a step with these `features` (see `step_features`)."""
        return self.launch_s * features[LAUNCH] + sum(
            self.slowdown[part] * bound_s for part, bound_s in features.items() if part != LAUNCH
        )

    def as_dict(self) -> dict[str, Any]:
        """As a result file holds it."""
        return {"launch_s": self.launch_s, "slowdown": dict(self.slowdown)}


def step_features(row: Mapping[str, Any]) -> dict[str, float]:
    """What a step's time is made of: launches, and the roof seconds of its parts at the bandwidth of the moment."""
    scale = seen_over_ceiling(row)
    parts = row["predicted_part_s"]
    features = {
        LAUNCH: float(row["num_launches"]),
        "weights": scale * (parts["weights"] + parts["activations"]),
        f"attention of {row['operation']}": scale * parts["attention"],
    }
    return features | ({"all_reduce": parts["all_reduce"]} if "all_reduce" in parts else {})


def calibrate_steps(rows: Sequence[Row]) -> dict[str, StepCalibration]:
    """Fit each engine's steps, eager and graph apart, and write role and calibrated time into all of them.

    Returns the calibrations by "provider/step" or "provider/step_graph", of two ranks with "_tp2" behind.
    Too few steps to fit keep `calibrated_s` None.
    """
    steps = [row for row in rows if "predicted_part_s" in row]
    for group in group_rows(steps, lambda row: f"{_engine_name(row)}/{row['operation']}").values():
        roles = alternate_roles([row["predicted_s"] for row in group])
        for row, role in zip(group, roles, strict=True):
            row["calibration_role"] = role
    fitted = {}
    for name, group in group_rows(steps, _engine_name).items():
        features = [step_features(row) for row in group]
        is_fit = [row["calibration_role"] == "fit" for row in group]
        names = sorted({part for one in features for part in one})
        matrix = np.array([[one.get(part, 0.0) for part in names] for one in features])
        if np.linalg.matrix_rank(matrix[is_fit]) < len(names):
            continue  # these steps cannot tell the parts from each other
        factors = _fitted(matrix[is_fit], np.array([row["median_s"] for row in group])[is_fit])
        by_part = dict(zip(names, factors.tolist(), strict=True))
        calibration = StepCalibration(launch_s=by_part.pop(LAUNCH), slowdown=by_part)
        for row, one in zip(group, features, strict=True):
            row["calibrated_s"] = calibration.total_s(one)
        fitted[name] = calibration
    return fitted


def _engine_name(row: Mapping[str, Any]) -> str:
    num_ranks = row.get("tp") or 1
    return f"{row['provider']}/step{'_graph' if row['graph'] else ''}{f'_tp{num_ranks}' if num_ranks > 1 else ''}"


def _fitted(matrix: npt.NDArray[np.float64], measured_s: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The non-negative factors that minimise relative error, outliers damped."""
    from scipy.optimize import least_squares

    relative = matrix / measured_s[:, None]
    size = relative.max(axis=0)  # launches are counted in hundreds, roofs in fractions of the step

    def relative_error(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(relative / size @ x - 1.0)

    start = np.full(matrix.shape[1], 1.0 / matrix.shape[1])
    solved = least_squares(relative_error, start, bounds=(0.0, np.inf), loss="soft_l1", f_scale=0.1)
    return np.asarray(solved.x / size)
