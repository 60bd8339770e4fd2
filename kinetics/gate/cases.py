"""The cases that the gate judges: few, fixed, spread over operations and shapes, each with what it must be able to see.

Pure. A case travels to the workers as a plain dictionary of `kinetics.grid` fields, so that a checkout of another age
can build its own case from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from kinetics.grid import CacheState, Case, Cell, Operation
from kinetics.model_specs import find_model

MAX_CASES = 8
_MODEL = "Qwen3-8B"
_PAGE_SIZE = 16
_DTYPES = {"cpu": "float32", "cuda": "bfloat16"}
_K = 1024


class GateGrid(Enum):
    """Gate is what CI runs; smoke proves in seconds that everything runs, and judges nothing well."""

    GATE = "gate"
    SMOKE = "smoke"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCase:
    """One case, and the smallest slow-down that the gate must be able to see in it (0.10 is 10 %).

    Where the machine's own `kinetics aa` says that it cannot, the gate refuses the case.
    """

    case: Case
    detectable_budget: float

    @property
    def name(self) -> str:
        """The case's id, as in result files."""
        return str(self.case)

    @property
    def spec(self) -> dict[str, Any]:
        """What a worker needs to build the case."""
        cell = self.case.cell
        return {
            "operation": self.case.operation.value,
            "provider": self.case.provider,
            "model": cell.model.name,
            "batch": cell.batch,
            "context_len": cell.context_len,
            "kv_budget": self.case.kv_budget,
            "page_size": cell.page_size,
            "device_kind": cell.device_kind,
            "dtype": cell.dtype,
        }


_Point = tuple[Operation, int, int, int | None, float]
_GRIDS: dict[tuple[str, GateGrid], tuple[_Point, ...]] = {
    ("cpu", GateGrid.GATE): (
        (Operation.DENSE, 1, 2 * _K, None, 0.10),
        (Operation.DENSE, 4, 2 * _K, None, 0.10),
        (Operation.DENSE, 1, 8 * _K, None, 0.10),
        (Operation.BLOCK_TOPK, 4, 4 * _K, 512, 0.10),
        (Operation.BLOCK_TOPK, 1, 16 * _K, 1 * _K, 0.10),
        (Operation.BLOCK_TOPK, 2, 8 * _K, 1 * _K, 0.10),
        (Operation.SEARCH, 2, 8 * _K, 1 * _K, 0.15),
        (Operation.APPEND, 8, 1 * _K, None, 0.25),
    ),
    ("cuda", GateGrid.GATE): (
        (Operation.DENSE, 1, 8 * _K, None, 0.05),
        (Operation.DENSE, 32, 8 * _K, None, 0.05),
        (Operation.DENSE, 8, 32 * _K, None, 0.05),
        (Operation.BLOCK_TOPK, 1, 32 * _K, 1 * _K, 0.05),
        (Operation.BLOCK_TOPK, 32, 8 * _K, 1 * _K, 0.05),
        (Operation.BLOCK_TOPK, 8, 32 * _K, 1 * _K, 0.05),
        (Operation.SEARCH, 32, 32 * _K, 1 * _K, 0.10),
        (Operation.APPEND, 32, 8 * _K, None, 0.10),
    ),
    ("cpu", GateGrid.SMOKE): (
        (Operation.DENSE, 1, 512, None, 1.0),
        (Operation.BLOCK_TOPK, 1, 1 * _K, 256, 1.0),
    ),
    ("cuda", GateGrid.SMOKE): (
        (Operation.DENSE, 1, 1 * _K, None, 1.0),
        (Operation.BLOCK_TOPK, 1, 2 * _K, 512, 1.0),
    ),
}


def gate_cases(grid: GateGrid, device_kind: str) -> list[GateCase]:
    """The cases of a grid on this kind of device."""
    return [
        GateCase(case=make_case(operation, batch, context_len, kv_budget, device_kind), detectable_budget=budget)
        for operation, batch, context_len, kv_budget, budget in _GRIDS[device_kind, grid]
    ]


def make_case(operation: Operation, batch: int, context_len: int, kv_budget: int | None, device_kind: str) -> Case:
    """One of our own kernels at one shape: cold, in the device's own dtype, from a graph where there are graphs."""
    cell = Cell(
        model=find_model(_MODEL),
        batch=batch,
        context_len=context_len,
        page_size=_PAGE_SIZE,
        device_kind=device_kind,
        dtype=_DTYPES[device_kind],
        cache_state=CacheState.COLD,
        is_graph=device_kind == "cuda",
    )
    return Case(cell=cell, operation=operation, provider="ours", kv_budget=kv_budget)
