"""Predicted seconds of one kernel case or whole decode step, on measured ceilings or an accelerator's data sheet.

A data sheet knows no launch overhead and no cache bandwidth: such a prediction is a lower bound, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from kinetics.cases.kernel_work import NUM_LAUNCHES, work_of
from kinetics.cases.kernels import OPERATIONS as KERNEL_OPERATIONS
from kinetics.cases.kernels import CacheState, Case, Cell
from kinetics.cases.steps import STEP_POLICIES, StepCase, StepCell
from kinetics.cost.kernels import Work
from kinetics.cost.steps import step_memory, step_parts
from kinetics.prediction.roofline import predict, predict_parts
from kinetics.specs.ceilings import Ceilings
from kinetics.specs.hardware import Precision, find_accelerator
from kinetics.specs.models import find_model
from kinetics.specs.policies import PolicyKind

_STEP_PREFIX = "step_"
OPERATIONS = (
    *KERNEL_OPERATIONS,
    *(f"{_STEP_PREFIX}{policy.value}" for policy in STEP_POLICIES),
)
"""What can be predicted: the kernels of one layer, and whole decode steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedCase:
    """What to predict. `num_devices` and `link_bytes_per_s` (all-reduce, each way) matter to steps alone.

    Raises: ValueError naming the operation that is unknown.
    """

    model: str
    operation: str
    batch: int
    context_len: int
    kv_budget: int
    page_size: int
    num_devices: int = 1
    link_bytes_per_s: float | None = None

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise ValueError(f"--operation must be one of {', '.join(OPERATIONS)}, got {self.operation!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a case is predicted to run. `source` says where its ceilings come from."""

    name: str
    dtype: str
    ceilings: Ceilings
    memory_bytes: int
    source: str

    @property
    def facts(self) -> dict[str, Any]:
        """What a prediction says of where it holds."""
        return {"device": self.name, "ceilings_from": self.source, "dtype": self.dtype}


def predict_case(asked: PredictedCase, target: Target) -> dict[str, Any]:
    """Work and predicted time of one case. Keys carry units.

    Raises: ValueError naming the value that is wrong.
    """
    return _predicted_step(asked, target) if asked.operation.startswith(_STEP_PREFIX) else _predicted(asked, target)


def _predicted(asked: PredictedCase, target: Target) -> dict[str, Any]:
    """One layer's kernel."""
    is_cpu = target.dtype == "float32"
    cell = Cell(
        model=find_model(asked.model),
        batch=asked.batch,
        context_len=asked.context_len,
        page_size=asked.page_size,
        device_kind="cpu" if is_cpu else "cuda",
        dtype=target.dtype,
        cache_state=CacheState.COLD,
        uses_cuda_graph=not is_cpu,
    )
    wanted = KERNEL_OPERATIONS[asked.operation]
    budget = asked.kv_budget if wanted.has_kv_budget else None
    case = Case(cell=cell, operation=wanted, provider="ours", kv_budget=budget)
    work = work_of(case)
    predicted = predict(work, target.ceilings, num_launches=NUM_LAUNCHES[wanted])
    return {
        "case": str(case),
        **target.facts,
        "minimum_bytes": work.num_bytes,
        "flop": work.flop,
        "launch_s": predicted.overhead_s,
        "memory_s": predicted.memory_s,
        "compute_s": predicted.compute_s,
        "predicted_s": predicted.total_s,
        "bound": predicted.bound_by,
    }


def _predicted_step(asked: PredictedCase, target: Target) -> dict[str, Any]:
    """A whole step of the model: its parts, its memory, its tokens per second."""
    model, policy = find_model(asked.model), PolicyKind(asked.operation.removeprefix(_STEP_PREFIX))
    cell = StepCell(
        model=model,
        layer_counts=(model.num_layers,),
        batch=asked.batch,
        context_len=asked.context_len,
        page_size=asked.page_size,
        device_kind="cpu" if target.dtype == "float32" else "cuda",
        dtype=target.dtype,
        uses_cuda_graph=target.dtype != "float32",
    )
    budget = asked.kv_budget if policy.has_kv_budget else None
    case = StepCase(cell=cell, policy=policy, num_layers=model.num_layers, kv_budget=budget)
    shape = replace(case.shape, num_devices=asked.num_devices)
    parts, need = step_parts(shape), step_memory(shape)
    work = sum(parts.values(), Work(flop=0, num_bytes=0))
    predicted = predict_parts(
        parts, target.ceilings, num_launches=shape.num_launches, link_bytes_per_s=asked.link_bytes_per_s
    )
    return {
        "case": str(case),
        **target.facts,
        "num_devices": asked.num_devices,
        "minimum_bytes": work.num_bytes,
        "flop": work.flop,
        "launch_s": predicted.overhead_s,
        **{f"{name}_s": seconds for name, seconds in predicted.part_s.items()},
        "predicted_s": predicted.total_s,
        "bound": predicted.bound_by,
        "tokens_per_s": asked.batch / predicted.total_s,
        "required_bytes": need.num_bytes,
        "memory_bytes": target.memory_bytes,
        "fits": need.num_bytes <= target.memory_bytes,
    }


def data_sheet_target(name: str) -> Target:
    """A named accelerator, as its data sheet has it.

    Raises: ValueError for one that is not known, with the names that are.
    """
    accelerator = find_accelerator(name)
    rate = accelerator.memory_bytes_per_s
    ceilings = Ceilings(
        read_bytes_per_s=rate,
        cached_read_bytes_per_s=rate,
        copy_bytes_per_s=rate,
        matmul_flop_per_s=accelerator.flop_per_s(Precision.BF16),
        launch_s=0.0,
        cache_bytes=accelerator.l2_bytes or 0,
    )
    return Target(
        name=accelerator.name,
        dtype="bfloat16",
        ceilings=ceilings,
        memory_bytes=accelerator.memory_bytes,
        source="data sheet, launches not counted: a lower bound",
    )
