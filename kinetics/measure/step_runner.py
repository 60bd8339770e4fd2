"""One decode-step cell from shape to samples: estimate, allocate, prove, time, prove again, free.

Every number of layers is timed under every policy and without attention, interleaved, so that attention's share and
the extrapolation to all layers come from the same rounds.
"""

from __future__ import annotations

import statistics
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

import kinetics
from kinetics.cases.steps import StepCase, StepCell
from kinetics.cost.memory import MemoryNeed
from kinetics.cost.steps import step_memory
from kinetics.machine.company import CompanyWatch
from kinetics.machine.conditions import Conditions
from kinetics.machine.device import Device, available_bytes, last_level_cache_bytes
from kinetics.measure.memory import run_within_memory
from kinetics.measure.rounds import Candidate, Measurement, RoundPlan, measure_cpu, measure_cuda
from kinetics.measure.step_proof import HEAD_ROWS
from kinetics.measure.step_trial import StepTrials, bare_name
from kinetics.measure.timing import EVICTION_CACHES, CpuEvictor
from kinetics.results.step_row import StepMeasured, extrapolate
from kinetics_kernels.unavailable import Unavailable

StepOutcome = StepMeasured | Unavailable | Exception

_PLAN = {
    "cpu": RoundPlan(budget_s=4.0, min_rounds=5, max_rounds=40),
    "cuda": RoundPlan(budget_s=2.0, min_rounds=20, max_rounds=200),
}


class StepRunner:
    """Measures decode-step cells on one device, one at a time; nothing of a cell outlives `run`."""

    def __init__(self, device: Device, conditions: Conditions) -> None:
        self._device = device
        self._conditions = conditions
        self._cache_bytes = last_level_cache_bytes(device)

    def run(self, cell: StepCell, cases: Sequence[StepCase]) -> dict[StepCase, StepOutcome]:
        """Measure the cases of one cell, interleaved.

        Raises: ConditionsChangedError if the conditions cannot be set, or did not last.
        """
        available = available_bytes(self._device)
        eviction_bytes = EVICTION_CACHES * self._cache_bytes if self._device.kind == "cpu" else 0
        need = memory_need(cases, eviction_bytes=eviction_bytes)
        with self._conditions.held():
            return run_within_memory(
                cases, need, self._device, lambda: self._measured(cell, cases, need=need, available=available)
            )

    def _measured(
        self, cell: StepCell, cases: Sequence[StepCase], *, need: MemoryNeed, available: int
    ) -> dict[StepCase, StepOutcome]:
        trials = StepTrials(cell, cases, device=self._device.torch_name, conditions=self._conditions)
        if not trials.sound:
            return dict(trials.failures)
        watch = CompanyWatch()
        timed = self._timed(cell, trials.candidates())
        circumstances = self._conditions.row_fields() | watch.seen().row_fields()
        trials.conclude(timed)
        outcomes: dict[StepCase, StepOutcome] = dict(trials.failures)
        for case, max_abs_error in trials.sound.items():
            outcomes[case] = StepMeasured(
                case=case,
                provider_version=kinetics.__version__,
                samples_s=timed.samples_s[str(case)],
                bare_samples_s=timed.samples_s[bare_name(case.num_layers)],
                extrapolated_s=_extrapolated_s(case, timed),
                max_abs_error=max_abs_error,
                canary_bytes_per_s=statistics.median(timed.canary_bytes_per_s) if timed.canary_bytes_per_s else None,
                required_bytes=need.num_bytes,
                available_bytes=available,
                circumstances=circumstances,
            )
        return outcomes

    def _timed(self, cell: StepCell, candidates: Mapping[str, Candidate]) -> Measurement:
        plan, seed = _PLAN[self._device.kind], zlib.crc32("".join(candidates).encode())
        if self._device.kind == "cuda":
            return measure_cuda(candidates, use_graph=cell.uses_cuda_graph, plan=plan, seed=seed)
        with torch.inference_mode():
            return measure_cpu(candidates, evict=CpuEvictor(self._cache_bytes), plan=plan, seed=seed)


def memory_need(cases: Sequence[StepCase], *, eviction_bytes: int) -> MemoryNeed:
    """What a cell holds at once: the largest of its cases, the summaries, and one layer widened for the proof."""
    cell = cases[0].cell
    largest = max((case.shape for case in cases), key=lambda shape: step_memory(shape).num_bytes)
    model = largest.model
    matrix = max(model.hidden_size * 2 * model.intermediate_size, model.hidden_size * HEAD_ROWS)
    head_kv = 2 * cell.context_len * model.head_dim
    proof_bytes = 8 * (2 * matrix + 4 * head_kv)
    return MemoryNeed(parts={**step_memory(largest).parts, "proof": proof_bytes, "eviction": eviction_bytes})


def _extrapolated_s(case: StepCase, timed: Measurement) -> float | None:
    """The full model's step from this policy's rounds with the cell's first two numbers of layers, if it has two."""
    counts = case.cell.layer_counts[:2]
    if len(counts) < 2:
        return None
    rounds_s = {count: timed.samples_s[str(replace(case, num_layers=count))] for count in counts}
    return extrapolate(rounds_s, num_layers=case.cell.model.num_layers)
