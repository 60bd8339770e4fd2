"""What the answers of a log cost: in exact and published eFLOPs, in predicted and measured seconds, in joules.

Each price is a `kinetics.law.prices.Price`. Seconds are a full batch's, divided by its rows: what one answer adds to a
run that is never short of others. Prefill is not in them, as it is not in the law. A run measures steps of whole
batches, not answers: measured seconds and joules are a fit to them, for a log of a server to how long its answers took.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from kinetics.cost.answers import CostOptions, question_work, sum_steps
from kinetics.cost.published import INTENSITY
from kinetics.cost.steps import StepShape, step_parts
from kinetics.files.lines import DataFileError
from kinetics.law.prices import Price, exact_price, paper_price
from kinetics.prediction.calibration import Calibration, fit_calibration
from kinetics.prediction.roofline import predict_parts
from kinetics.results.store import read_result
from kinetics.samples.log_header import TraceHeader
from kinetics.samples.log_reader import SampleTiming
from kinetics.specs.ceilings import Ceilings
from kinetics.specs.dtypes import element_bytes
from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import AttentionPolicy, BlockSummary, BlockTopK, Dense, Local, TopK
from kinetics.specs.units import TERA

_PREDICTED_POINTS: Final = 5
"""Contexts at which a step is predicted per answer; between them it is linear."""
_MIN_TIMINGS: Final = 8
"""Fewer answers than that are fitted with a time per token alone."""
_MIN_SPREAD: Final = 0.05
"""So are answers whose steps all read about as many keys: nothing in them tells the two parts apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPrice:
    """Seconds or joules of one decode step of a full batch: a fixed part, and one per key its rows read on average."""

    step: float
    key: float


def law_price(header: TraceHeader, spec: ModelSpec, *, batch: int) -> Price:
    """Exact 1e12 eFLOP at the paper's intensity, the log's dense layers charged dense."""
    options = CostOptions(batch=batch, num_dense_layers=header.num_dense_layers)
    return exact_price(spec, intensity=INTENSITY, options=options)


def published_price(spec: ModelSpec) -> Price:
    """1e12 eFLOP by the published formulas; sinks, partial blocks and minima, which those do not know, are left out."""
    try:
        as_published = paper_price(spec)
        as_published(Dense(), prompt_len=1, lengths=[1], trials=[1])
    except ValueError:  # a model outside the published table: its own parameters, embeddings included as there
        as_published = paper_price(spec, num_parameters=spec.num_parameters)

    def price(
        policy: AttentionPolicy, *, prompt_len: int, lengths: Sequence[int], trials: Sequence[int]
    ) -> list[float]:
        return as_published(_published_policy(policy), prompt_len=prompt_len, lengths=lengths, trials=trials)

    return price


def predicted_price(header: TraceHeader, spec: ModelSpec) -> Price | None:
    """Seconds by the roofline of the machine that made the log; None if the log does not carry its ceilings.

    None too for what the step model does not describe: other policies, and layers that differ.
    """
    facts = header.machine.get("ceilings")
    if not facts or not isinstance(header.policy, Dense | BlockTopK) or header.num_dense_layers:
        return None
    ceilings, batch = Ceilings(**facts), int(header.engine["batch"])

    def step_s(context_len: int) -> float:
        shape = StepShape(
            model=spec,
            batch=batch,
            context_len=context_len,
            page_size=int(header.engine["page_size"]),
            element_bytes=element_bytes(header.engine["dtype"]),
            num_kept_pages=_kept_pages(header.policy),
            num_summary_vectors=header.policy.summary.num_vectors if isinstance(header.policy, BlockTopK) else 0,
        )
        return predict_parts(step_parts(shape), ceilings, num_launches=shape.num_launches).total_s

    def answer_s(prompt_len: int, length: int) -> float:
        contexts = np.linspace(prompt_len + 1, prompt_len + max(1, length), _PREDICTED_POINTS)
        mean_s = float(np.mean([step_s(round(context)) for context in contexts]))
        return length * mean_s / batch

    return _per_answer(answer_s)


def measured_price(header: TraceHeader, of_step: StepPrice | None) -> Price | None:
    """By the run's own steps: a row pays its share of the fixed part, and for the keys that it reads."""
    if of_step is None:
        return None
    batch, price = int(header.engine["batch"]), of_step

    def answer(prompt_len: int, length: int) -> float:
        return (length * price.step + _attended(header.policy, prompt_len, length) * price.key) / batch

    return _per_answer(answer)


def bench_price(header: TraceHeader, spec: ModelSpec, device: MeasuredDevice) -> Price:
    """Seconds by a result file of `pytest bench/`."""
    priced = seconds_price(spec, device, num_dense_layers=header.num_dense_layers)
    per_second = device.matmul_flop_per_s / TERA

    def price(
        policy: AttentionPolicy, *, prompt_len: int, lengths: Sequence[int], trials: Sequence[int]
    ) -> list[float]:
        costs = priced(policy, prompt_len=prompt_len, lengths=lengths, trials=trials)
        return [cost / per_second for cost in costs]

    return price


def fit_step_price(timings: Sequence[SampleTiming], *, amount: str = "decode_s") -> StepPrice | None:
    """Fixed and per-key part that explain best what steps took; neither is negative. None if nothing tells.

    `amount`: the field of the timings, `decode_s` or `device_j`.
    """
    from scipy.optimize import nnls

    # A counter that ticks slowly gives some answers nothing and others a whole tick: only their sum is right.
    used = [one for one in timings if one.generated_tokens > 1 and getattr(one, amount) is not None]
    if not sum(getattr(one, amount) for one in used):
        return None
    # The first token of an answer comes from the prefill.
    steps = np.array([one.generated_tokens - 1 for one in used], dtype=np.float64)
    taken = np.array([getattr(one, amount) for one in used], dtype=np.float64)
    row_keys = np.array([np.nan if one.row_keys is None else one.row_keys for one in used])
    if len(used) < _MIN_TIMINGS or not row_keys.std() > _MIN_SPREAD * row_keys.mean():
        return StepPrice(step=float(taken.sum() / steps.sum()), key=0.0)
    keys = steps * row_keys
    scale = np.array([steps.max(), keys.max()])
    (step_share, key_share), _ = nnls(np.stack([steps, keys], axis=1) / scale, taken)
    return StepPrice(step=float(step_share / scale[0]), key=float(key_share / scale[1]))


def prices_of(
    header: TraceHeader,
    spec: ModelSpec,
    timings: Sequence[SampleTiming],
    *,
    batch: int,
    device: MeasuredDevice | None,
) -> Mapping[str, Price | None]:
    """The price of each cost that tables have a column for, by the column's name."""
    measured_s = measured_price(header, fit_step_price(timings))
    return {
        "exact_tera_eflop": law_price(header, spec, batch=batch),
        "paper_tera_eflop": published_price(spec),
        "predicted_s": predicted_price(header, spec),
        "measured_s": bench_price(header, spec, device) if device else measured_s,
        "measured_j": measured_price(header, fit_step_price(timings, amount="device_j")),
    }


def _per_answer(answer_s: Any) -> Price:
    """A price whose trials share nothing."""

    def price(
        policy: AttentionPolicy,  # noqa: ARG001 - the protocol asks; seconds belong to one log and its policy
        *,
        prompt_len: int,
        lengths: Sequence[int],
        trials: Sequence[int],
    ) -> list[float]:
        mean_s = sum(answer_s(prompt_len, length) for length in lengths) / len(lengths)
        return [n * mean_s for n in trials]

    return price


def _attended(policy: AttentionPolicy, prompt_len: int, generated: int) -> int:
    sums = sum_steps(policy, prompt_len=prompt_len, generated=generated)
    return sums.attended_keys + sums.scored_vectors


def _kept_pages(policy: AttentionPolicy) -> int | None:
    if not isinstance(policy, BlockTopK):
        return None
    return (policy.kv_budget + policy.num_sink_tokens) // policy.block_size + 1


def _published_policy(policy: AttentionPolicy) -> AttentionPolicy:
    match policy:
        case BlockTopK():
            return replace(policy, num_sink_tokens=0, keeps_partial_block=False, summary=BlockSummary.MEAN)
        case TopK() | Local():
            return replace(policy, num_sink_tokens=0)
        case _:
            return policy


OWN_PROVIDER: Final = "ours"


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
        element_bytes=element_bytes(own[0]["dtype"]),
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
