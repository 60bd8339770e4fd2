"""What a row of a decode step says: the fields of a kernel row, and those that only a step has.

Pure arithmetic over numbers. The full step of a partial model is extrapolated from its rounds with one layer and
with a few.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kinetics.cases.steps import StepCase
from kinetics.cost.kernels import Work
from kinetics.cost.steps import step_parts
from kinetics.prediction.calibration import Row
from kinetics.prediction.roofline import predict_parts
from kinetics.results.disturbance import disturbance
from kinetics.results.kernel_row import shared_case_fields
from kinetics.specs.ceilings import Ceilings, LinkCeilings


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMeasured:
    """A step that was proved correct and timed.

    `bare_samples_s`: the same step without attention, interleaved with it. `extrapolated_s`: the full model's step
    from this policy's rounds with two numbers of layers; None where these were not measured. `circumstances`: under
    which conditions and in what company it was timed, as the row states them. `links`: how fast ranks that share the
    model add up; None for one alone.
    """

    case: StepCase
    provider_version: str
    samples_s: Sequence[float]
    bare_samples_s: Sequence[float]
    extrapolated_s: float | None
    max_abs_error: float
    canary_bytes_per_s: float | None
    required_bytes: int
    available_bytes: int
    circumstances: Mapping[str, Any] = field(default_factory=dict)
    links: LinkCeilings | None = None

    @property
    def distinct_bytes(self) -> int:
        """What a step must fetch: weights and cache. Activations may stay in a cache from one part to the next."""
        parts = step_parts(self.case.shape)
        return parts["weights"].num_bytes + parts["attention"].num_bytes

    @property
    def is_warm(self) -> bool:
        """Never: a step streams its weights."""
        return False

    def row(self, ceilings: Ceilings) -> Row:
        """The `extra_info` of the row, calibration apart (that needs all rows)."""
        case, shape = self.case, self.case.shape
        parts = step_parts(shape)
        work = sum(parts.values(), Work(flop=0, num_bytes=0))
        prediction = predict_parts(
            parts,
            ceilings,
            num_launches=shape.num_launches,
            link_bytes_per_s=self.links.bytes_per_s if self.links else None,
            waiting_s=shape.num_collectives * self.links.collective_s if self.links else 0.0,
        )
        median_s = statistics.median(self.samples_s)
        achieved = work.num_bytes / median_s
        row = {
            **_case_fields(case),
            "provider_version": self.provider_version,
            "minimum_bytes": work.num_bytes,
            "flop": work.flop,
            "median_s": median_s,
            "predicted_s": prediction.total_s,
            "predicted_roof_s": prediction.bound_s,
            "predicted_bound": prediction.bound_by,
            "predicted_part_s": dict(prediction.part_s),
            "num_launches": shape.num_launches,
            "predicted_attention_share": prediction.part_s["attention"] / prediction.bound_s,
            "calibrated_s": None,
            "calibration_role": None,
            "measured_over_predicted": median_s / prediction.total_s,
            "achieved_bytes_per_s": achieved,
            "ceiling_bytes_per_s": ceilings.read_bytes_per_s,
            "fraction_of_ceiling": achieved / ceilings.read_bytes_per_s,
            "canary_bytes_per_s": self.canary_bytes_per_s,
            "max_abs_error": self.max_abs_error,
            "attention_share": 1.0 - statistics.median(self.bare_samples_s) / median_s,
            "required_bytes": self.required_bytes,
            "available_bytes": self.available_bytes,
            **self._full_model_fields(median_s),
            **self.circumstances,
        }
        return row | {"disturbed": disturbance(row)}

    def _full_model_fields(self, median_s: float) -> dict[str, Any]:
        """The step of all layers: measured, or extrapolated, or both and their difference."""
        full_s = median_s if self.case.is_full else self.extrapolated_s
        has_both = self.case.is_full and self.extrapolated_s is not None
        return {
            "full_model_s": full_s,
            "full_model_is_extrapolated": not self.case.is_full,
            "tokens_per_s": self.case.cell.batch / full_s if full_s else None,
            "extrapolation_error": self.extrapolated_s / median_s - 1.0 if has_both and self.extrapolated_s else None,
        }


def extrapolate(rounds_s: Mapping[int, Sequence[float]], *, num_layers: int) -> float:
    """The step with `num_layers` layers: the median over rounds of the straight line through two numbers of layers.

    rounds_s: samples by number of layers; sample i of both must come from the same round.
    """
    (few, few_s), (more, more_s) = sorted(rounds_s.items())
    times = (num_layers - few) / (more - few)
    return statistics.median(a + times * (b - a) for a, b in zip(few_s, more_s, strict=True))


def _case_fields(case: StepCase) -> Row:
    shared = shared_case_fields(case, operation=f"step_{case.policy.value}")
    return {**shared, "num_layers": case.num_layers, "kv_dtype": case.cell.kv_dtype, "tp": case.cell.num_devices}
