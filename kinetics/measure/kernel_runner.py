"""One cell from shape to samples: estimate, allocate, prepare, prove, time, free.

A case that does not fit, cannot run here or runs out of memory is told apart from one that computes something wrong:
the first three come back as Unavailable, the last as the exception that its test will raise. Neither stops
the other cases of the cell.
"""

from __future__ import annotations

import gc
import statistics
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch

from kinetics.cases.kernel_work import NUM_LAUNCHES, work_of
from kinetics.cases.kernels import ATTENTION, CacheState, Case, Cell
from kinetics.cost.memory import MemoryNeed
from kinetics.machine.device import Device, available_bytes, last_level_cache_bytes
from kinetics.machine.energy import energy_counter, joules_per_call
from kinetics.measure.kernel_workload import make_cell_inputs, prepare, provider_case, shape_of
from kinetics.measure.timing import (
    EVICTION_CACHES,
    Call,
    CpuEvictor,
    Measurement,
    Meter,
    RoundPlan,
    host_s,
    measure_cpu,
    measure_cuda,
    num_rotating_buffers,
)
from kinetics.results.kernel_row import Measured
from kinetics.specs.dtypes import element_bytes
from kinetics_kernels.providers import find_provider
from kinetics_kernels.unavailable import Unavailable

Outcome = Measured | Unavailable | Exception
AnyCase = TypeVar("AnyCase")
AnyOutcome = TypeVar("AnyOutcome")

_BUDGET_S_PER_CASE = {"cpu": 0.5, "cuda": 0.3}
_MEMORY_SHARE = 0.9


class CellRunner:
    """Measures cells on one device, one at a time; nothing of a cell outlives `run`."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._cache_bytes = last_level_cache_bytes(device)
        self._energy = energy_counter(device)

    def run(self, cell: Cell, cases: Sequence[Case]) -> dict[Case, Outcome]:
        """Measure the cases of one cell, interleaved."""
        outcomes: dict[Case, Outcome] = {case: why for case in cases if (why := self._unavailable_for(case))}
        runnable = [case for case in cases if case not in outcomes]
        need = self._memory_need(cell, runnable)
        if not runnable:
            return outcomes
        return outcomes | run_within_memory(runnable, need, self._device, lambda: self._measured(cell, runnable))

    def _unavailable_for(self, case: Case) -> Unavailable | None:
        if case.operation not in ATTENTION:
            return None
        provider = find_provider(case.provider)
        unavailable = provider.unavailable_on(self._device.kind) or provider.unavailable_for(
            provider_case(case, device_kind=self._device.kind)
        )
        return None if unavailable is None else Unavailable(f"{case.provider}: {unavailable}")

    def _num_buffers(self, cell: Cell, cases: Sequence[Case]) -> int:
        """One on a CPU, where the cache is evicted instead; enough to overflow L2 on a GPU, if cold."""
        if self._device.kind == "cpu" or cell.cache_state is CacheState.WARM:
            return 1
        return num_rotating_buffers(self._cache_bytes, min(work_of(case).num_bytes for case in cases))

    def _memory_need(self, cell: Cell, cases: Sequence[Case]) -> MemoryNeed:
        shape, size = shape_of(cell), element_bytes(cell.dtype)
        page_bytes = 2 * shape.page_size * shape.num_kv_heads * shape.head_dim * size
        num_pages = shape.batch * (shape.pages_per_request + 1)
        decoders = [case for case in cases if case.operation in ATTENTION]
        prepared = sum(
            find_provider(case.provider).prepared_bytes(provider_case(case, device_kind=self._device.kind))
            for case in decoders
        )
        copies = self._num_buffers(cell, cases) if cases else 1
        head_bytes = shape.context_len * shape.head_dim * 8
        return MemoryNeed(
            parts={
                "kv": copies * num_pages * page_bytes,
                "summaries": copies * num_pages * shape.num_kv_heads * shape.head_dim * size,
                "providers": copies * prepared,
                # The oracle widens one request's keys and values to float64 and holds a few of its intermediates.
                "proof": 6 * shape.num_kv_heads * head_bytes,
                "eviction": EVICTION_CACHES * self._cache_bytes if self._device.kind == "cpu" else 0,
            }
        )

    def _measured(self, cell: Cell, cases: Sequence[Case]) -> dict[Case, Outcome]:
        num_buffers = self._num_buffers(cell, cases)
        inputs = [make_cell_inputs(cell, device=self._device.torch_name, seed=i) for i in range(num_buffers)]
        outcomes: dict[Case, Outcome] = {}
        calls: dict[Case, list[Call]] = {}
        errors: dict[Case, float] = {}
        plan_s: dict[Case, float] = {}
        for case in cases:
            try:
                prepared = [prepare(case, one) for one in inputs]
                if prepared[0].plan is not None:
                    plan_s[case] = host_s(prepared[0].plan, device_kind=self._device.kind)
                errors[case] = prepared[0].prove()  # the other buffers differ in their random numbers only
            except Exception as error:  # whatever one provider raises is that case's failure, not the cell's
                if is_out_of_memory(error):
                    raise
                outcomes[case] = error
                continue
            calls[case] = [one.call for one in prepared]
        if calls:
            measurement = self._timed(cell, calls)
            outcomes |= {case: self._outcome(case, measurement, errors[case], plan_s.get(case)) for case in calls}
        return outcomes

    def _timed(self, cell: Cell, calls: Mapping[Case, Sequence[Call]]) -> Measurement:
        named = {str(case): case_calls for case, case_calls in calls.items()}
        plan = RoundPlan(budget_s=_BUDGET_S_PER_CASE[self._device.kind] * len(calls))
        seed = zlib.crc32("".join(named).encode())
        if self._device.kind == "cuda":
            return measure_cuda(named, use_graph=cell.uses_cuda_graph, plan=plan, seed=seed, meter=self._meter())
        evict = CpuEvictor(self._cache_bytes) if cell.cache_state is CacheState.COLD else None
        with torch.inference_mode():
            return measure_cpu({name: one[0] for name, one in named.items()}, evict=evict, plan=plan, seed=seed)

    def _meter(self) -> Meter | None:
        counter = self._energy
        if isinstance(counter, Unavailable):
            return None
        return lambda run, num_calls: joules_per_call(
            counter, run, calls_per_run=num_calls, wait=torch.cuda.synchronize
        )

    def _outcome(self, case: Case, measurement: Measurement, max_abs_error: float, plan_s: float | None) -> Measured:
        canary = measurement.canary_bytes_per_s
        return Measured(
            case=case,
            work=work_of(case),
            num_launches=NUM_LAUNCHES[case.operation],
            provider_version=find_provider(case.provider).version(),
            samples_s=tuple(measurement.samples_s[str(case)]),
            max_abs_error=max_abs_error,
            plan_s=plan_s,
            joules_per_call=measurement.joules_per_call.get(str(case)),
            canary_bytes_per_s=statistics.median(canary) if canary else None,
        )


def run_within_memory(
    cases: Sequence[AnyCase], need: MemoryNeed, device: Device, measure: Callable[[], dict[AnyCase, AnyOutcome]]
) -> dict[AnyCase, AnyOutcome | Unavailable]:
    """What `measure` returns, or for every case the reason why its memory was not enough; freed in the end."""
    if unavailable := need.unavailable_within(available_bytes(device), share=_MEMORY_SHARE):
        return dict.fromkeys(cases, unavailable)
    try:
        return {**measure()}
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return dict.fromkeys(cases, Unavailable(f"out of memory, though the estimate was {need}"))
    finally:
        gc.collect()
        if device.kind == "cuda":
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator failed: torch's CPU allocator raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
