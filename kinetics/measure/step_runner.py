"""One decode-step cell from shape to samples: estimate, allocate, prove, time, prove again, free.

Every number of layers is timed under every policy and without attention, interleaved, so that attention's share and
the extrapolation to all layers come from the same rounds. Where ranks share the model, all of them run this, and a step
takes as long as on the slowest.
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
from kinetics.engine.tensor_parallel import ALONE, RankGroup, rank_failures
from kinetics.machine.company import CompanyWatch
from kinetics.machine.conditions import Conditions
from kinetics.machine.device import Device, available_bytes, last_level_cache_bytes
from kinetics.measure.memory import run_within_memory
from kinetics.measure.rounds import Candidate, Measurement, RoundPlan, alone, measure_cpu, measure_cuda
from kinetics.measure.step_proof import HEAD_ROWS
from kinetics.measure.step_trial import StepTrials, bare_name
from kinetics.measure.timing import EVICTION_CACHES, CpuEvictor
from kinetics.results.step_row import StepMeasured, extrapolate
from kinetics.specs.ceilings import LinkCeilings
from kinetics_kernels.unavailable import Unavailable

StepOutcome = StepMeasured | Unavailable | Exception

_PLAN = {
    "cpu": RoundPlan(budget_s=4.0, min_rounds=5, max_rounds=40),
    "cuda": RoundPlan(budget_s=2.0, min_rounds=20, max_rounds=200),
}


def step_plan(device_kind: str) -> RoundPlan:
    """How many rounds a cell of steps takes."""
    return _PLAN[device_kind]


class StepRunner:
    """Measures decode-step cells on one device, one at a time; nothing of a cell outlives `run`.

    `ranks` share the model, and `links` is how fast they were seen to add up.
    """

    def __init__(
        self,
        device: Device,
        conditions: Conditions,
        *,
        ranks: RankGroup = ALONE,
        links: LinkCeilings | None = None,
    ) -> None:
        self._ranks = ranks
        self._links = links
        self._device = device
        self._conditions = conditions
        self._cache_bytes = last_level_cache_bytes(device)

    def run(self, cell: StepCell, cases: Sequence[StepCase]) -> dict[StepCase, StepOutcome]:
        """Measure the cases of one cell, interleaved.

        Raises: ConditionsChangedError if the conditions cannot be set, or did not last; RankFailedError if ranks share
            the model and one of them failed.
        """
        with rank_failures(self._ranks):
            available = self._available_bytes()
            eviction_bytes = EVICTION_CACHES * self._cache_bytes if self._device.kind == "cpu" else 0
            need = memory_need(cases, eviction_bytes=eviction_bytes)

            def measure() -> dict[StepCase, StepOutcome]:
                with rank_failures(self._ranks):
                    return self._measured(cell, cases, need=need, available=available)

            with self._conditions.held():
                return run_within_memory(cases, need, self._device, measure, free_bytes=available)

    def _available_bytes(self) -> int:
        """What the rank with the least has; ranks on one CPU share its memory."""
        least = min(self._ranks.share(available_bytes(self._device)))
        return least // self._ranks.num_ranks if self._device.kind == "cpu" else least

    def _measured(
        self, cell: StepCell, cases: Sequence[StepCase], *, need: MemoryNeed, available: int
    ) -> dict[StepCase, StepOutcome]:
        trials = StepTrials(cell, cases, device=self._device.torch_name, conditions=self._conditions, ranks=self._ranks)
        if not trials.sound:
            return dict(trials.failures)
        watch = CompanyWatch(share=self._ranks.share)
        timed = self._of_slowest(self._timed(cell, trials.candidates()))
        circumstances = self._conditions.row_fields() | watch.seen().row_fields()
        trials.conclude(timed)
        outcomes: dict[StepCase, StepOutcome] = dict(trials.failures)
        for case, max_abs_error in trials.sound.items():
            outcomes[case] = StepMeasured(
                case=case,
                provider_version=kinetics.__version__,
                samples_s=timed.samples_s[str(case)],
                bare_samples_s=timed.samples_s[bare_name(case)],
                extrapolated_s=_extrapolated_s(case, timed),
                max_abs_error=max_abs_error,
                canary_bytes_per_s=statistics.median(timed.canary_bytes_per_s) if timed.canary_bytes_per_s else None,
                required_bytes=need.num_bytes,
                available_bytes=available,
                circumstances=circumstances,
                links=self._links,
            )
        return outcomes

    def _timed(self, cell: StepCell, candidates: Mapping[str, Candidate]) -> Measurement:
        plan, seed = _PLAN[self._device.kind], zlib.crc32("".join(candidates).encode())
        share = self._ranks.share if self._ranks.num_ranks > 1 else alone
        if self._device.kind == "cuda":
            return measure_cuda(candidates, use_graph=cell.uses_cuda_graph, plan=plan, seed=seed, share=share)
        evict = CpuEvictor(self._cache_bytes)
        with torch.inference_mode():
            return measure_cpu(candidates, evict=evict, plan=plan, seed=seed, share=share)

    def _of_slowest(self, timed: Measurement) -> Measurement:
        """The same rounds, each as long as on the rank that took longest."""
        of_ranks = self._ranks.share(timed.samples_s)
        slowest = {
            name: [max(one) for one in zip(*(samples[name] for samples in of_ranks), strict=True)]
            for name in timed.samples_s
        }
        return replace(timed, samples_s=slowest)


def memory_need(cases: Sequence[StepCase], *, eviction_bytes: int) -> MemoryNeed:
    """What a cell holds at once: the largest of its cases, the summaries, and one layer widened for the proof."""
    cell = cases[0].cell
    largest = max((case.shape for case in cases), key=lambda shape: step_memory(shape).num_bytes)
    model = cell.shard
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
