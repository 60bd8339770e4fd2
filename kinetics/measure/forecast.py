"""What a benchmark run on a GPU will hold and how long it will take, cell by cell, before there is one.

Memory is the arithmetic that a run does itself, on the memory of a data sheet. Time is an estimate: bytes at the data
sheet's rate, rounds as the timer counts them, and for the host's part the seconds of `HostCosts`, which are assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kinetics.cases.cell_memory import MEMORY_SHARE, CellPlan, cell_memory
from kinetics.cases.kernel_work import NUM_LAUNCHES, work_of
from kinetics.cases.kernels import ATTENTION, Case, Cell
from kinetics.cases.steps import StepCase, StepCell
from kinetics.cost.memory import MemoryNeed
from kinetics.cost.steps import step_parts
from kinetics.measure.kernel_runner import BUDGET_S_PER_CASE, plan_kernels
from kinetics.measure.rounds import RoundPlan
from kinetics.measure.step_runner import memory_need, step_plan
from kinetics.measure.timing import MIN_REPLAY_S
from kinetics.specs.hardware import Accelerator
from kinetics.specs.policies import PolicyKind
from kinetics_kernels.providers import find_provider

_MOST_CALLS: Final = 1024
_DRAW_PASSES: Final = 10
"""Over keys and values while they are drawn twice: written, summarised, copied for peers without pages."""
_ORACLE_PASSES: Final = 16
"""Over keys and values, in bytes of 16 bits, for dense answers in three precisions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCosts:
    """Seconds of the host, assumed and not measured on any GPU machine: to be held against the first run.

    `start_s`: of a process, with torch, its first context and the ceilings. `child_s`: of each peer's trial in a
    process of its own. `compile_s`: of all Triton kernels of the grid. `flex_compile_s`: of torch.compile for one cell.
    `operation_s`: of one operation of plain torch. `launch_s`: of one launch from Python, captured or not.
    `empty_launch_s`: what the device takes for a launch inside a graph. `cell_s`: of a cell, whatever is in it.
    """

    start_s: float = 25.0
    child_s: float = 8.0
    compile_s: float = 40.0
    flex_compile_s: float = 6.0
    operation_s: float = 8e-6
    launch_s: float = 40e-6
    empty_launch_s: float = 2.5e-6
    cell_s: float = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class CellForecast:
    """One cell. `dropped`: peers that make room for ours. `refused`: why it is not measured; None if it is.

    `is_needless`: refused, though our kernels alone would fit.

    `seconds`: drawn, proved, captured, timed and compiled, one after the other.
    """

    cell: Cell | StepCell
    num_cases: int
    dropped: tuple[str, ...]
    num_buffers: int
    need: MemoryNeed
    refused: str | None
    seconds: dict[str, float]
    is_needless: bool = False

    @property
    def total_s(self) -> float:
        """All of it."""
        return sum(self.seconds.values())


def forecast_kernels(cell: Cell, cases: Sequence[Case], device: Accelerator, host: HostCosts) -> CellForecast:
    """A cell of kernels."""
    able = [case for case in cases if not _is_refused(case)]
    plan = plan_kernels(cell, able, cache_bytes=device.l2_bytes or 0, free_bytes=device.memory_bytes)
    need = cell_memory(cell, plan.kept, num_buffers=plan.num_buffers)
    refused = need.unavailable_within(device.memory_bytes, share=MEMORY_SHARE)
    kept = [one.case for one in plan.kept]
    return CellForecast(
        cell=cell,
        num_cases=len(kept),
        dropped=tuple(one.case.provider for one in plan.dropped),
        num_buffers=plan.num_buffers,
        need=need,
        refused=None if refused is None else refused.reason,
        seconds={} if refused else _kernel_seconds(cell, kept, plan, device, host),
        is_needless=refused is not None
        and cell_memory(cell, (), num_buffers=1).num_bytes <= MEMORY_SHARE * device.memory_bytes,
    )


def forecast_steps(cell: StepCell, cases: Sequence[StepCase], device: Accelerator, host: HostCosts) -> CellForecast:
    """A cell of whole decode steps."""
    need = memory_need(cases, eviction_bytes=0)
    refused = need.unavailable_within(device.memory_bytes, share=MEMORY_SHARE)
    calls_s = {}
    for case in cases:
        work_bytes = sum(part.num_bytes for name, part in step_parts(case.shape).items() if name != "all_reduce")
        per_launch_s = host.empty_launch_s if cell.uses_cuda_graph else host.launch_s
        calls_s[str(case)] = work_bytes / device.memory_bytes_per_s + case.shape.num_launches * per_launch_s
    bare_s = min(calls_s.values())
    launches = max(case.shape.num_launches for case in cases)
    policies = {case.policy for case in cases}
    proof_s = 2 * 3 * len(policies) * _oracle_s(cell.batch, cell.model.num_kv_heads, host)
    seconds = {
        "cell": host.cell_s,
        "draw": 4 * need.num_bytes / device.memory_bytes_per_s,
        "prove": proof_s,
        "capture": (len(cases) + 1) * 4 * launches * host.launch_s,
        "time": _rounds_s(step_plan("cuda"), [*calls_s.values(), bare_s], num_buffers=1),
    }
    return CellForecast(
        cell=cell, num_cases=len(cases), dropped=(), num_buffers=1, need=need,
        refused=None if refused is None else refused.reason, seconds={} if refused else seconds,
    )  # fmt: skip


def _is_refused(case: Case) -> bool:
    from kinetics.measure.kernel_workload import provider_case

    if case.operation not in ATTENTION:
        return False
    provider = find_provider(case.provider)
    return provider.unavailable_for(provider_case(case, device_kind="cuda")) is not None


def _kernel_seconds(
    cell: Cell, cases: Sequence[Case], plan: CellPlan, device: Accelerator, host: HostCosts
) -> dict[str, float]:
    buffers, num_cases = plan.num_buffers, len(cases)
    kv_bytes = cell_memory(cell, (), num_buffers=1).parts["kv"]
    pass_s = kv_bytes / device.memory_bytes_per_s
    num_oracles = buffers + 2  # before, after on every buffer, and what was audited
    has_dense = any(case.operation is PolicyKind.DENSE for case in cases)
    precisions = 6 if any(case.operation in ATTENTION for case in cases) else 2  # of attention; of scores alone
    answers_s = precisions * _oracle_s(cell.batch, cell.model.num_kv_heads, host) + has_dense * _ORACLE_PASSES * pass_s
    looks_s = num_cases * (pass_s + 60 * host.operation_s)  # its inputs fingerprinted, its output compared
    calls_s = [
        work_of(case).num_bytes / device.memory_bytes_per_s + NUM_LAUNCHES[case.operation] * host.empty_launch_s
        for case in cases
    ]
    captured = sum(
        2 * _num_calls(call_s, buffers) * NUM_LAUNCHES[case.operation]
        for call_s, case in zip(calls_s, cases, strict=True)
    )
    budget = RoundPlan(budget_s=BUDGET_S_PER_CASE["cuda"] * num_cases)
    flex = host.flex_compile_s if any(case.provider == "flex_attention" for case in cases) else 0.0
    return {
        "cell": host.cell_s,
        "draw": buffers * (_DRAW_PASSES * pass_s + 60 * host.operation_s + 6 * cell.batch * host.operation_s),
        "prove": num_oracles * (answers_s + looks_s),
        "capture": captured * host.launch_s,
        "time": _rounds_s(budget, calls_s, num_buffers=buffers),
        "compile": flex,
    }


def _oracle_s(batch: int, num_kv_heads: int, host: HostCosts) -> float:
    """One precision, request by request and head by head, a dozen operations each."""
    return 12 * batch * num_kv_heads * host.operation_s


def _num_calls(call_s: float, num_buffers: int) -> int:
    passes = max(1, min(_MOST_CALLS // num_buffers, round(MIN_REPLAY_S / (call_s * num_buffers) + 0.5)))
    return passes * num_buffers


def _rounds_s(plan: RoundPlan, calls_s: Sequence[float], *, num_buffers: int) -> float:
    round_s = sum(call_s * _num_calls(call_s, num_buffers) for call_s in calls_s)
    return round_s * (plan.num_rounds(round_s) + 8)  # a few to find its size, and to look at the last
