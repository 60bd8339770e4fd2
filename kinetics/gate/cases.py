"""The cases that the gate judges: few, fixed, spread over operations and shapes, each with what it must be able to see.

Pure. A case travels to the workers as a plain dictionary of `kinetics.cases.kernels` fields, so that a checkout of
another age can build its own case from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from kinetics.cases.kernels import CacheState, Case, Cell, Operation, PageOperation
from kinetics.cases.steps import BenchCase, StepCase, StepCell
from kinetics.measure.prepared_case import STEP
from kinetics.specs.dtypes import default_dtype
from kinetics.specs.models import find_model
from kinetics.specs.policies import PolicyKind

MAX_CASES = 8
BUDGETS = {"cpu": 0.05, "cuda": 0.02}
"""A slow-down below this is none, by kind of device, unless the case declares its own."""
_PAGE_SIZE = 16
_K = 1024


class GateGrid(Enum):
    """Gate is what CI runs; smoke proves in seconds that everything runs, and judges nothing well."""

    GATE = "gate"
    SMOKE = "smoke"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCase:
    """One case and what it may cost (0.10 is 10 %).

    `budget`: a slow-down below this is none. `detectable_budget`: the smallest that a fixed number of launches must be
    able to show, by which `kinetics gate self-test` rates a machine.
    """

    case: BenchCase
    budget: float
    detectable_budget: float

    @property
    def name(self) -> str:
        """The case's id, as in result files."""
        return str(self.case)

    @property
    def spec(self) -> dict[str, Any]:
        """What a worker needs to build the case."""
        cell = self.case.cell
        spec: dict[str, Any] = {
            "model": cell.model.name,
            "batch": cell.batch,
            "context_len": cell.context_len,
            "kv_budget": self.case.kv_budget,
            "page_size": cell.page_size,
            "device_kind": cell.device_kind,
            "dtype": cell.dtype,
        }
        if isinstance(self.case, StepCase):
            return {"operation": STEP, "policy": self.case.policy.value, "num_layers": self.case.num_layers, **spec}
        return {"operation": self.case.operation.value, "provider": self.case.provider, **spec}


class _Kernel(NamedTuple):
    """One of our own kernels at one shape of Qwen3-8B."""

    operation: Operation
    batch: int
    context_len: int
    kv_budget: int | None

    def case(self, device_kind: str) -> Case:
        """Cold, in the device's own dtype, from a graph where there are graphs."""
        cell = Cell(
            model=find_model("Qwen3-8B"),
            batch=self.batch,
            context_len=self.context_len,
            page_size=_PAGE_SIZE,
            device_kind=device_kind,
            dtype=default_dtype(device_kind),
            cache_state=CacheState.COLD,
            uses_cuda_graph=device_kind == "cuda",
        )
        return Case(cell=cell, operation=self.operation, provider="ours", kv_budget=self.kv_budget)


class _Step(NamedTuple):
    """A whole decode step through the first layers and the head of Qwen3-0.6B: every kernel, and what joins them."""

    policy: PolicyKind
    num_layers: int
    batch: int
    context_len: int
    kv_budget: int | None

    def case(self, device_kind: str) -> StepCase:
        """In the device's own dtype, from a graph where there are graphs."""
        cell = StepCell(
            model=find_model("Qwen3-0.6B"),
            layer_counts=(self.num_layers,),
            batch=self.batch,
            context_len=self.context_len,
            page_size=_PAGE_SIZE,
            device_kind=device_kind,
            dtype=default_dtype(device_kind),
            uses_cuda_graph=device_kind == "cuda",
        )
        return StepCase(cell=cell, policy=self.policy, num_layers=self.num_layers, kv_budget=self.kv_budget)


class _Point(NamedTuple):
    """A case of a grid: its shape, what must be visible in it, and its own budget if it has one."""

    shape: _Kernel | _Step
    detectable_budget: float
    budget: float | None = None


_GRIDS: dict[tuple[str, GateGrid], tuple[_Point, ...]] = {
    ("cpu", GateGrid.GATE): (
        _Point(_Kernel(PolicyKind.DENSE, 1, 2 * _K, None), 0.10),
        _Point(_Kernel(PolicyKind.DENSE, 4, 2 * _K, None), 0.10),
        _Point(_Kernel(PolicyKind.DENSE, 1, 8 * _K, None), 0.10),
        _Point(_Kernel(PolicyKind.BLOCK_TOPK, 4, 4 * _K, 512), 0.10),
        _Point(_Kernel(PolicyKind.BLOCK_TOPK, 2, 8 * _K, 1 * _K), 0.10),
        _Point(_Kernel(PageOperation.SEARCH, 2, 8 * _K, 1 * _K), 0.15),
        _Point(_Kernel(PageOperation.APPEND, 8, 1 * _K, None), 0.25, budget=0.10),
        _Point(_Step(PolicyKind.BLOCK_TOPK, 4, 2, 2 * _K, 1 * _K), 0.10),
    ),
    ("cuda", GateGrid.GATE): (
        _Point(_Kernel(PolicyKind.DENSE, 1, 8 * _K, None), 0.05),
        _Point(_Kernel(PolicyKind.DENSE, 32, 8 * _K, None), 0.05),
        _Point(_Kernel(PolicyKind.DENSE, 8, 32 * _K, None), 0.05),
        _Point(_Kernel(PolicyKind.BLOCK_TOPK, 32, 8 * _K, 1 * _K), 0.05),
        _Point(_Kernel(PolicyKind.BLOCK_TOPK, 8, 32 * _K, 1 * _K), 0.05),
        _Point(_Kernel(PageOperation.SEARCH, 32, 32 * _K, 1 * _K), 0.10),
        _Point(_Kernel(PageOperation.APPEND, 32, 8 * _K, None), 0.10),
        _Point(_Step(PolicyKind.BLOCK_TOPK, 28, 8, 8 * _K, 1 * _K), 0.05),
    ),
    ("cpu", GateGrid.SMOKE): (
        _Point(_Kernel(PolicyKind.DENSE, 1, 512, None), 1.0, budget=0.25),
        _Point(_Kernel(PolicyKind.BLOCK_TOPK, 1, 1 * _K, 256), 1.0, budget=0.25),
    ),
    ("cuda", GateGrid.SMOKE): (
        _Point(_Kernel(PolicyKind.DENSE, 1, 1 * _K, None), 1.0, budget=0.25),
        _Point(_Kernel(PolicyKind.BLOCK_TOPK, 1, 2 * _K, 512), 1.0, budget=0.25),
    ),
}


def gate_cases(grid: GateGrid, device_kind: str) -> list[GateCase]:
    """The cases of a grid on this kind of device."""
    return [
        GateCase(
            case=point.shape.case(device_kind),
            budget=BUDGETS[device_kind] if point.budget is None else point.budget,
            detectable_budget=point.detectable_budget,
        )
        for point in _GRIDS[device_kind, grid]
    ]
