"""Cost models from measurements: the steps of a log's own run, its machine's roofline, a result file of the bench.

Seconds are a full batch's, divided by its rows: what one answer adds to a run that is never short of others. Prefill
is not in them, as it is not in the law. A run measures steps of whole batches, not answers: its seconds and joules are
a fit to them, for the log of a server to how long its answers took.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from kinetics.cost.answers import CostOptions
from kinetics.cost.steps import StepShape, step_parts
from kinetics.files.lines import DataFileError
from kinetics.law.cost_models import CostModel, EFlopCost, MeasuredCost, ModelledStepCost, PublishedCost, StepCost
from kinetics.prediction.calibration import Calibration, fit_calibration
from kinetics.prediction.roofline import predict_parts
from kinetics.results.row import read_row, row_name
from kinetics.results.store import read_result
from kinetics.samples.counts import amount
from kinetics.samples.log_header import TraceHeader
from kinetics.specs.ceilings import Ceilings
from kinetics.specs.dtypes import element_bytes
from kinetics.specs.generation import DecodeUsage
from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import AttentionPolicy, BlockTopK, Dense

OWN_PROVIDER: Final = "ours"
EFLOP: Final = "exact_tera_eflop"
PUBLISHED: Final = "paper_tera_eflop"
PREDICTED: Final = "predicted_s"
MEASURED: Final = "measured_s"
JOULES: Final = "measured_j"
LOG_COSTS: Final = (EFLOP, PUBLISHED, PREDICTED, MEASURED, JOULES)
"""What the answers of a log can cost, by the name of the column."""

_MIN_TIMINGS: Final = 8
"""Fewer answers than that are fitted with a time per token alone."""
_MIN_SPREAD: Final = 0.05
"""So are answers whose steps all read about as many keys: the two parts cannot be separated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredDevice:
    """What a result file says of its device: ceilings, and our kernels' calibration for dense and sparse steps."""

    name: str
    read_bytes_per_s: float
    matmul_flop_per_s: float
    element_bytes: int
    batch: int
    dense: Calibration
    sparse: Calibration

    def cost_model(self, model: ModelSpec, *, num_dense_layers: int = 0) -> MeasuredCost:
        """Seconds of an answer in a batch as large as the largest measured one.

        It pays its share of every call's fixed time and of one read of the weights.
        """
        weights_flop_s = 2 * model.matmul_parameters_per_token / self.matmul_flop_per_s
        weights_read_s = model.weights_read_per_step(self.batch) * self.element_bytes / self.read_bytes_per_s
        weights_s = max(weights_flop_s, weights_read_s / self.batch)

        def step(kernel: Calibration) -> StepCost:
            key_s = model.kv_bytes_per_token(self.element_bytes) / (kernel.efficiency * self.read_bytes_per_s)
            return StepCost(token=weights_s + model.num_layers * kernel.overhead_s / self.batch, key=key_s)

        return MeasuredCost(
            dense=step(self.dense),
            sparse=step(self.sparse),
            vector_keys=0.5,  # a key comes with its value
            dense_share=num_dense_layers / model.num_layers,
            shares_prompt=True,
        )


def log_cost_models(
    header: TraceHeader,
    spec: ModelSpec,
    usages: Sequence[DecodeUsage],
    *,
    batch: int = 0,
    device: MeasuredDevice | None = None,
    ceilings: Ceilings | None = None,
) -> dict[str, CostModel]:
    """The cost models that a log has evidence for, by the name of the column; its dense layers are charged dense.

    `ceilings`: of the device that made it, where more than this log knows them.
    """
    options = CostOptions(batch=batch, num_dense_layers=header.num_dense_layers)
    found: dict[str, CostModel | None] = {
        EFLOP: EFlopCost(model=spec, options=options),
        PUBLISHED: PublishedCost(model=spec),
        PREDICTED: _roofline_cost(header, spec, ceilings),
        MEASURED: device.cost_model(spec, num_dense_layers=header.num_dense_layers)
        if device
        else _run_cost(header, fit_step(usages)),
        JOULES: _run_cost(header, fit_step(usages, amount="energy_j")),
    }
    return {name: model for name, model in found.items() if model is not None}


def fit_step(usages: Sequence[DecodeUsage], *, amount: str = "decode_s") -> StepCost | None:
    """Fixed and per-key part that explain best what whole steps took; neither is negative. None without any.

    `amount`: the field of the usages, `decode_s` or `energy_j`.
    """
    from scipy.optimize import nnls

    # A counter that ticks slowly gives some answers nothing and others a whole tick: only their sum is right.
    used = [one for one in usages if one.num_tokens > 1 and getattr(one, amount) is not None]
    if not sum(getattr(one, amount) for one in used):
        return None
    # The first token of an answer comes from the prefill.
    steps = np.array([one.num_tokens - 1 for one in used], dtype=np.float64)
    taken = np.array([getattr(one, amount) for one in used], dtype=np.float64)
    row_keys = np.array([np.nan if one.keys_read is None else one.keys_read for one in used])
    if len(used) < _MIN_TIMINGS or not row_keys.std() > _MIN_SPREAD * row_keys.mean():
        return StepCost(token=float(taken.sum() / steps.sum()), key=0.0)
    keys = steps * row_keys
    scale = np.array([steps.max(), keys.max()])
    (step_share, key_share), _ = nnls(np.stack([steps, keys], axis=1) / scale, taken)
    return StepCost(token=float(step_share / scale[0]), key=float(key_share / scale[1]))


def read_measured_device(path: Path) -> MeasuredDevice:
    """Fit the calibrations from a result file's cold rows of our own kernels.

    Raises: DataFileError naming the file if it is not a result file, or lacks ceilings, dense or sparse rows.
    """
    document = read_result(path)
    machine = document.get("machine_info")
    machine = machine if isinstance(machine, dict) else {}
    read_bytes_per_s, matmul_flop_per_s = _rates(path, machine.get("ceilings"))
    own = _own_cold_rows(path, document["benchmarks"])
    dense = _fit(path, own, "dense", read_bytes_per_s)
    sparse = _fit(path, own, "block_topk", read_bytes_per_s)
    try:
        return MeasuredDevice(
            name=str(machine.get("device") or path.parent.name),
            read_bytes_per_s=read_bytes_per_s,
            matmul_flop_per_s=matmul_flop_per_s,
            element_bytes=element_bytes(str(own[0].get("dtype"))),
            batch=max(int(row.get("batch") or 1) for row in own),
            dense=dense,
            sparse=sparse,
        )
    except ValueError as error:
        raise DataFileError(f"{path}: {error}") from None


def _rates(path: Path, ceilings: Any) -> tuple[float, float]:
    """Bytes and FLOP per second that were measured.

    Raises: DataFileError if they were not.
    """
    if not isinstance(ceilings, dict):
        raise DataFileError(f"{path}: result file must carry measured ceilings, got none; measure again")
    try:
        read, matmul = (amount(ceilings.get(name), name) for name in ("read_bytes_per_s", "matmul_flop_per_s"))
    except ValueError as error:
        raise DataFileError(f"{path}: measured {error}; measure again") from None
    if not min(read, matmul):
        raise DataFileError(f"{path}: measured ceilings must be above 0, got {read:g} and {matmul:g}; measure again")
    return read, matmul


def _own_cold_rows(path: Path, benchmarks: Sequence[Any]) -> list[Mapping[str, Any]]:
    """The fields of our own kernels' cold rows, their times those of their samples.

    Raises: DataFileError naming a row that cannot be used.
    """
    rows = []
    for bench in benchmarks:
        fields = bench.get("extra_info") if isinstance(bench, dict) else None
        told = fields if isinstance(fields, dict) else {}
        if (told.get("provider"), told.get("cache_state")) == (OWN_PROVIDER, "cold"):
            try:
                rows.append(read_row(bench, name=row_name(bench)).fields)
            except ValueError as error:
                raise DataFileError(f"{path}: row {row_name(bench)[:80]}: {error}; measure again") from None
    return rows


def _run_cost(header: TraceHeader, step: StepCost | None) -> MeasuredCost | None:
    """By the run's own steps: a row pays its share of them, and for the keys that it reads; a file may not tell it."""
    if step is None or "batch" not in header.engine:
        return None
    row = step * (1 / int(header.engine["batch"]))
    return MeasuredCost(dense=row, sparse=row)


def _roofline_cost(header: TraceHeader, spec: ModelSpec, known: Ceilings | None) -> ModelledStepCost | None:
    """Seconds by the roofline of the machine that made the log; None if the log does not carry its ceilings.

    None too for what the step model does not describe: other policies, and layers that differ.
    """
    facts = header.machine.get("ceilings")
    if not facts or not isinstance(header.policy, Dense | BlockTopK) or header.num_dense_layers:
        return None
    if not {"batch", "page_size", "dtype"} <= header.engine.keys():
        return None
    ceilings, batch = known or Ceilings(**facts), int(header.engine["batch"])

    def step_s(policy: AttentionPolicy, context_len: int) -> float:
        shape = StepShape(
            model=spec,
            batch=batch,
            context_len=context_len,
            page_size=int(header.engine["page_size"]),
            element_bytes=element_bytes(header.engine["dtype"]),
            kv_element_bytes=element_bytes(header.engine.get("kv_dtype", header.engine["dtype"])),
            num_kept_pages=_kept_pages(policy),
            num_summary_vectors=policy.summary.num_vectors if isinstance(policy, BlockTopK) else 0,
        )
        return predict_parts(step_parts(shape), ceilings, num_launches=shape.num_launches).total_s

    return ModelledStepCost(step_s=step_s, batch=batch)


def _kept_pages(policy: AttentionPolicy) -> int | None:
    if not isinstance(policy, BlockTopK):
        return None
    return (policy.kv_budget + policy.num_sink_tokens) // policy.block_size + 1


def _fit(path: Path, rows: Sequence[Mapping[str, Any]], operation: str, read_bytes_per_s: float) -> Calibration:
    chosen = [row for row in rows if row.get("operation") == operation]
    try:
        return fit_calibration(
            [row["minimum_bytes"] / read_bytes_per_s for row in chosen], [row["median_s"] for row in chosen]
        )
    except ValueError as error:
        raise DataFileError(
            f"{path}: result file must have cold {operation} rows of provider {OWN_PROVIDER}; {error}"
        ) from error
