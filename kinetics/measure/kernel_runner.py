"""One cell from shape to samples: estimate, allocate, prepare, prove, time, prove again, free.

A case that does not fit, cannot run here or runs out of memory is told apart from one that computes something wrong:
the first three come back as Unavailable, the last as the exception that its test will raise. Neither stops
the other cases of the cell.
"""

from __future__ import annotations

import statistics
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from kinetics.cases.cell_memory import MEMORY_SHARE, CellPlan, Holding, cell_memory, plan_cell
from kinetics.cases.kernel_work import NUM_LAUNCHES, work_of
from kinetics.cases.kernels import ATTENTION, CacheState, Case, Cell
from kinetics.machine.company import CompanyWatch
from kinetics.machine.conditions import Conditions
from kinetics.machine.device import Device, available_bytes, last_level_cache_bytes
from kinetics.machine.energy import energy_counter, joules_per_call
from kinetics.measure.kernel_trial import KernelTrials, Trial
from kinetics.measure.kernel_workload import provider_case
from kinetics.measure.memory import run_within_memory
from kinetics.measure.rounds import Candidate, Measurement, Meter, RoundPlan, measure_cpu, measure_cuda
from kinetics.measure.timing import EVICTION_CACHES, CpuEvictor, num_rotating_buffers
from kinetics.results.kernel_row import Measured
from kinetics.specs.units import GIBI
from kinetics_kernels.providers import find_provider
from kinetics_kernels.unavailable import Unavailable

Outcome = Measured | Unavailable | Exception

_ROTATED_BYTES = 16 * 2**30
"""Of keys and values at most, unless one buffer has more: all of it is drawn twice and proved."""
_LEAST_ROTATION = 2
"""Caches that the rotating buffers must overflow before a peer is dropped for their sake."""
BUDGET_S_PER_CASE = {"cpu": 0.5, "cuda": 0.3}


class CellRunner:
    """Measures cells on one device under the same conditions, one at a time; nothing of a cell outlives `run`."""

    def __init__(self, device: Device, conditions: Conditions, *, meters_energy: bool = False) -> None:
        self._device = device
        self._conditions = conditions
        self._cache_bytes = last_level_cache_bytes(device)
        self._energy = energy_counter(device) if meters_energy else Unavailable("nobody asked for joules")

    def run(self, cell: Cell, cases: Sequence[Case]) -> dict[Case, Outcome]:
        """Measure the cases of one cell, interleaved.

        Raises: ConditionsChangedError if the conditions cannot be set, or did not last.
        """
        outcomes: dict[Case, Outcome] = {case: why for case in cases if (why := self._unavailable_for(case))}
        runnable = [case for case in cases if case not in outcomes]
        if not runnable:
            return outcomes
        plan = self._plan(cell, runnable)
        outcomes |= {one.case: self._no_room(one) for one in plan.dropped}
        kept = [one.case for one in plan.kept]
        eviction_bytes = EVICTION_CACHES * self._cache_bytes if self._device.kind == "cpu" else 0
        need = cell_memory(cell, plan.kept, num_buffers=plan.num_buffers, eviction_bytes=eviction_bytes)
        measure = partial(self._measured, cell, kept, num_buffers=plan.num_buffers)
        with self._conditions.held():
            return outcomes | run_within_memory(kept, need, self._device, measure)

    def _unavailable_for(self, case: Case) -> Unavailable | None:
        if case.operation not in ATTENTION:
            return None
        provider = find_provider(case.provider)
        unavailable = provider.unavailable_on(self._device.kind) or provider.unavailable_for(
            provider_case(case, device_kind=self._device.kind)
        )
        return None if unavailable is None else Unavailable(f"{case.provider}: {unavailable}")

    def _plan(self, cell: Cell, cases: Sequence[Case]) -> CellPlan:
        """One buffer on a CPU, where the cache is evicted instead; on a GPU enough to overflow L2, if cold."""
        return plan_kernels(cell, cases, cache_bytes=self._cache_bytes, free_bytes=available_bytes(self._device))

    def _no_room(self, one: Holding) -> Unavailable:
        what = "the contiguous copy it reads" if one.reads_copy else f"its {one.own_bytes / GIBI:.1f} GiB"
        free = f"{available_bytes(self._device) / GIBI:.1f} GiB free x {MEMORY_SHARE:.2f}"
        return Unavailable(f"{one.case.provider}: no room for {what} beside our kernels, {free}")

    def _measured(self, cell: Cell, cases: Sequence[Case], *, num_buffers: int) -> dict[Case, Outcome]:
        trials = KernelTrials(
            cell,
            cases,
            device=self._device.torch_name,
            num_buffers=num_buffers,
            conditions=self._conditions,
        )
        if not trials.sound:
            return dict(trials.failures)
        watch = CompanyWatch()
        measured = self._timed(cell, trials.candidates())
        circumstances = self._conditions.row_fields() | watch.seen().row_fields()
        trials.conclude(measured)
        outcomes: dict[Case, Outcome] = dict(trials.failures)
        for trial in trials.sound:
            outcomes[trial.case] = self._outcome(trial, measured, circumstances)
        return outcomes

    def _timed(self, cell: Cell, candidates: Mapping[str, Candidate]) -> Measurement:
        plan = RoundPlan(budget_s=BUDGET_S_PER_CASE[self._device.kind] * len(candidates))
        seed = zlib.crc32("".join(candidates).encode())
        if self._device.kind == "cuda":
            return measure_cuda(candidates, use_graph=cell.uses_cuda_graph, plan=plan, seed=seed, meter=self._meter())
        evict = CpuEvictor(self._cache_bytes) if cell.cache_state is CacheState.COLD else None
        with torch.inference_mode():
            return measure_cpu(candidates, evict=evict, plan=plan, seed=seed)

    def _meter(self) -> Meter | None:
        counter = self._energy
        if isinstance(counter, Unavailable):
            return None
        return lambda run, num_calls: joules_per_call(
            counter, run, calls_per_run=num_calls, wait=torch.cuda.synchronize
        )

    def _outcome(self, trial: Trial, measured: Measurement, circumstances: Mapping[str, Any]) -> Measured:
        case, canary = trial.case, measured.canary_bytes_per_s
        return Measured(
            case=case,
            work=work_of(case),
            num_launches=NUM_LAUNCHES[case.operation],
            provider_version=find_provider(case.provider).version(),
            samples_s=tuple(measured.samples_s[str(case)]),
            max_abs_error=trial.max_abs_error,
            plan_s=trial.plan_s,
            joules_per_call=measured.joules_per_call.get(str(case)),
            canary_bytes_per_s=statistics.median(canary) if canary else None,
            selection_overlap=trial.selection_overlap,
            circumstances=circumstances,
        )


def plan_kernels(cell: Cell, cases: Sequence[Case], *, cache_bytes: int, free_bytes: int) -> CellPlan:
    """What a cell holds on a device with such a cache and so much memory free, and which cases it drops."""
    holdings = [_holding(case) for case in cases]
    smallest_bytes = min(work_of(case).num_bytes for case in cases)
    is_rotating = cell.device_kind == "cuda" and cell.cache_state is CacheState.COLD
    buffer_bytes = cell_memory(cell, (), num_buffers=1).parts["kv"]
    wanted = (
        num_rotating_buffers(cache_bytes, smallest_bytes, buffer_bytes=buffer_bytes, budget_bytes=_ROTATED_BYTES)
        if is_rotating
        else 1
    )
    least = min(wanted, -(-_LEAST_ROTATION * cache_bytes // smallest_bytes))
    return plan_cell(cell, holdings, wanted_buffers=wanted, least_buffers=least, available_bytes=free_bytes)


def _holding(case: Case) -> Holding:
    if case.operation not in ATTENTION:
        return Holding(case=case)
    provider = find_provider(case.provider)
    if getattr(provider, "reads_contiguous_copy", False):
        return Holding(case=case, reads_copy=True)
    own_bytes = provider.prepared_bytes(provider_case(case, device_kind=case.cell.device_kind))
    return Holding(case=case, own_bytes=own_bytes)
