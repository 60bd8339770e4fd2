"""What a measured row says: samples turned into the fields of a result file, and calibration over finished rows.

Pure arithmetic over numbers and plain dictionaries. What the fields mean stands in `kinetics.results.fields`.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from kinetics.cases.kernels import CacheState, Case
from kinetics.cost.kernels import Work
from kinetics.prediction.calibration import Row
from kinetics.prediction.roofline import predict
from kinetics.results.disturbance import disturbance
from kinetics.specs.ceilings import Ceilings

if TYPE_CHECKING:
    from kinetics.cases.steps import BenchCase


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A case that was proved correct and timed. `canary_bytes_per_s`: read bandwidth seen between its samples.

    `plan_s`: what the provider does once per batch, on top of the samples; None if there is nothing. `joules_per_call`
    of the whole device; None where nothing counts them. `selection_overlap`: see
    `kinetics.measure.selection_overlap`; None where nothing is selected. `circumstances`: under which conditions and in
    what company it was timed, as the row states them.
    """

    case: Case
    work: Work
    num_launches: int
    provider_version: str
    samples_s: Sequence[float]
    max_abs_error: float
    canary_bytes_per_s: float | None
    plan_s: float | None = None
    joules_per_call: float | None = None
    selection_overlap: float | None = None
    circumstances: Mapping[str, Any] = field(default_factory=dict)

    @property
    def distinct_bytes(self) -> int:
        """What a call must fetch or write, each byte once."""
        return self.work.num_bytes

    @property
    def is_warm(self) -> bool:
        """Whether its data may come from the cache."""
        return self.case.cell.cache_state is CacheState.WARM

    def row(self, ceilings: Ceilings) -> Row:
        """The `extra_info` of the row."""
        return measured_row(self, ceilings)


class Recordable(Protocol):
    """A measurement that knows its row."""

    @property
    def samples_s(self) -> Sequence[float]:
        """Seconds per call, one sample a round."""

    @property
    def distinct_bytes(self) -> int:
        """What a call must fetch or write, each byte once."""

    @property
    def is_warm(self) -> bool:
        """Whether its data may come from the cache."""

    def row(self, ceilings: Ceilings) -> Row:
        """The `extra_info` of its row, calibration apart."""


def measured_row(measured: Measured, ceilings: Ceilings) -> Row:
    """The `extra_info` of one row, calibration apart (that needs all rows: `calibrate`)."""
    case, work = measured.case, measured.work
    prediction = predict(work, ceilings, num_launches=measured.num_launches, is_warm=measured.is_warm)
    median_s = statistics.median(measured.samples_s)
    ceiling = ceilings.bytes_per_s(work.num_bytes, is_warm=measured.is_warm)
    row = {
        **_case_fields(case),
        "provider_version": measured.provider_version,
        "minimum_bytes": work.num_bytes,
        "flop": work.flop,
        "median_s": median_s,
        "predicted_s": prediction.total_s,
        "predicted_roof_s": prediction.bound_s,
        "predicted_bound": prediction.bound_by,
        "calibrated_s": None,
        "calibration_role": None,
        "measured_over_predicted": median_s / prediction.total_s,
        "achieved_bytes_per_s": work.num_bytes / median_s,
        "ceiling_bytes_per_s": ceiling,
        "fraction_of_ceiling": work.num_bytes / median_s / ceiling,
        "canary_bytes_per_s": measured.canary_bytes_per_s,
        "plan_s": measured.plan_s,
        "joules_per_call": measured.joules_per_call,
        "joules_per_token": None if measured.joules_per_call is None else measured.joules_per_call / case.cell.batch,
        "max_abs_error": measured.max_abs_error,
        "selection_overlap": measured.selection_overlap,
        **measured.circumstances,
    }
    return row | {"disturbed": disturbance(row)}


def _case_fields(case: Case) -> Row:
    return {**shared_case_fields(case, operation=case.operation.value), "kv_layout": case.cell.kv_layout}


def shared_case_fields(case: BenchCase, *, operation: str) -> Row:
    """What makes a row of a kernel or of a whole step the case it is."""
    cell = case.cell
    return {
        "case": str(case),
        "operation": operation,
        "provider": case.provider,
        "model": cell.model.name,
        "num_q_heads": cell.model.num_q_heads,
        "num_kv_heads": cell.model.num_kv_heads,
        "head_dim": cell.model.head_dim,
        "batch": cell.batch,
        "context_len": cell.context_len,
        "kv_budget": case.kv_budget,
        "page_size": cell.page_size,
        "dtype": cell.dtype,
        "cache_state": cell.cache_state.value,
        "graph": cell.uses_cuda_graph,
    }
