"""Prices in seconds that were measured: a result file of this suite instead of a data sheet.

Attention costs what the calibrated kernel costs (a fixed time per call, the rest by bytes); matmuls cost what the
probed ceilings say. Nothing is measured here, and what a result file lacks is an error, not a guess.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kinetics.answer_cost import CostOptions, question_work
from kinetics.attention_policy import AttentionPolicy, Dense
from kinetics.data_files import DataFileError
from kinetics.model_specs import ModelSpec
from kinetics.pricing import Price
from kinetics.records import read_result
from kinetics.roofline import Calibration, fit_calibration
from kinetics.units import TERA

OWN_PROVIDER: Final = "ours"
ELEMENT_BYTES: Final[Mapping[str, int]] = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredDevice:
    """What a result file tells about its device: ceilings, and our kernels' calibration for dense and sparse steps."""

    name: str
    read_bytes_per_s: float
    matmul_flop_per_s: float
    element_bytes: int
    batch: int
    dense: Calibration
    sparse: Calibration


def read_measured_device(path: Path) -> MeasuredDevice:
    """Fit the calibrations from a result file's cold rows of our own kernels.

    Raises: DataFileError naming the file if it is not a result file, or lacks ceilings, dense or sparse rows.
    """
    try:
        document = read_result(path)
    except ValueError as error:
        raise DataFileError(str(error)) from error
    machine = document.get("machine_info", {})
    ceilings = machine.get("ceilings")
    if not isinstance(ceilings, dict):
        raise DataFileError(f"{path}: result file must carry measured ceilings, got none; measure again")
    rows = [row.get("extra_info", {}) for row in document["benchmarks"]]
    own = [row for row in rows if row.get("provider") == OWN_PROVIDER and row.get("cache_state") == "cold"]
    read_bytes_per_s = float(ceilings["read_bytes_per_s"])
    dense = _fit(path, own, "dense", read_bytes_per_s)
    sparse = _fit(path, own, "block_topk", read_bytes_per_s)
    return MeasuredDevice(
        name=str(machine.get("device") or path.parent.name),
        read_bytes_per_s=read_bytes_per_s,
        matmul_flop_per_s=float(ceilings["matmul_flop_per_s"]),
        element_bytes=ELEMENT_BYTES[own[0]["dtype"]],
        batch=max(int(row["batch"]) for row in own),
        dense=dense,
        sparse=sparse,
    )


def seconds_price(model: ModelSpec, device: MeasuredDevice, *, num_dense_layers: int = 0) -> Price:
    """Seconds as 1e12 FLOP at the device's matmul rate, so that measured and counted costs share an axis.

    Each answer pays its share of a batch as large as the largest measured one: of every call's fixed time and of one
    read of the weights. Divided by the matmul rate in TFLOP/s, a cost is seconds again.
    """
    options = CostOptions(element_bytes=device.element_bytes, num_dense_layers=num_dense_layers)
    weights_flop_s = 2 * model.matmul_parameters_per_token / device.matmul_flop_per_s
    weights_read_s = model.weights_read_per_step(device.batch) * device.element_bytes / device.read_bytes_per_s
    token_s = max(weights_flop_s, weights_read_s / device.batch)

    def price(
        policy: AttentionPolicy, *, prompt_len: int, lengths: Sequence[int], trials: Sequence[int]
    ) -> list[float]:
        kernel = device.dense if isinstance(policy, Dense) else device.sparse
        work = question_work(model, policy, prompt_len=prompt_len, lengths=lengths, options=options)
        mean_length = sum(lengths) / len(lengths)
        call_s = model.num_layers * kernel.overhead_s / device.batch
        byte_s = 1 / (kernel.efficiency * device.read_bytes_per_s * len(lengths))
        seconds = (
            n * mean_length * (token_s + call_s) + (n * work.per_trial.num_bytes + work.shared.num_bytes) * byte_s
            for n in trials
        )
        return [second * device.matmul_flop_per_s / TERA for second in seconds]

    return price


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
