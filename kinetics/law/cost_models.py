"""What a question costs: a mean cost per number of trials, under the rule that the caller chooses.

A cost model turns (policy, prompt, observed lengths, trials) into the mean cost of that many trials, for many groups
of lengths at once. Allocations and frontiers do not know which of them they optimise: exact or published eFLOPs, or
seconds and joules of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import numpy as np
from numpy.typing import ArrayLike

from kinetics.cost.answer_groups import GroupSums, expected_longest, group_work, sum_groups
from kinetics.cost.answers import DEFAULT_OPTIONS, Combine, CostOptions
from kinetics.cost.published import INTENSITY, PUBLISHED_BILLION_PARAMETERS, num_published_parameters, paper_cost
from kinetics.law.intervals import FloatArray
from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import AttentionPolicy, BlockSummary, BlockTopK, Dense, Local, TopK
from kinetics.specs.units import TERA

_MODELLED_CONTEXTS: Final = np.unique(np.geomspace(1, 2**21, 240).round())
"""Contexts at which a modelled step is asked for; between them it is linear."""


class CostModel(Protocol):
    """Mean cost of a question for each number of trials."""

    def mean_costs(
        self, policy: AttentionPolicy, *, prompt_len: int, lengths: ArrayLike, trials: Sequence[int]
    ) -> FloatArray:
        """[..., num_trials]: one cost per entry of `trials`, averaged over `lengths`: [..., num_answers] tokens."""


CostModelOf = Callable[[ModelSpec], CostModel]
"""The cost model of a model's architecture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EFlopCost:
    """Counts as 1e12 eFLOP; an intensity of 0 gives the FLOPs-only law.

    `reads_prompt_to_longest`: a dense prompt is read until the longest of the trials ends, instead of for the mean
    length as the paper has it. It needs as many observed lengths as trials.
    """

    model: ModelSpec
    intensity: float = INTENSITY
    combine: Combine = Combine.SUM
    options: CostOptions = DEFAULT_OPTIONS
    num_parameters: int | None = None
    reads_prompt_to_longest: bool = False

    def mean_costs(
        self, policy: AttentionPolicy, *, prompt_len: int, lengths: ArrayLike, trials: Sequence[int]
    ) -> FloatArray:
        """See `CostModel`."""
        work = group_work(
            self.model,
            policy,
            prompt_len=prompt_len,
            lengths=lengths,
            num_parameters=self.num_parameters,
            options=self.options,
        )
        counts = np.asarray(trials, dtype=np.float64)
        stretch = _stretch(np.asarray(lengths), trials) if self.reads_prompt_to_longest else 1.0
        flop = work.flop[..., None] * counts + work.shared_flop[..., None]
        num_bytes = work.num_bytes[..., None] * counts + work.shared_bytes[..., None] * stretch
        compute, memory = flop / TERA, num_bytes * self.intensity / TERA
        return np.maximum(compute, memory) if self.combine is Combine.MAX else compute + memory


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedCost:
    """The published formulas, their mistakes included, as 1e12 eFLOP.

    Sinks, partial blocks and minima, which the formulas do not know, are left out. A model outside the published
    table has all its parameters counted, embeddings included as there.
    """

    model: ModelSpec
    intensity: float = INTENSITY

    def mean_costs(
        self, policy: AttentionPolicy, *, prompt_len: int, lengths: ArrayLike, trials: Sequence[int]
    ) -> FloatArray:
        """See `CostModel`."""
        generated = np.asarray(lengths, dtype=np.float64)
        totals = [
            paper_cost(
                self.model,
                _published_policy(policy),
                prompt_len=prompt_len,
                generated=generated,
                trials=n,
                num_parameters=counted_as_published(self.model),
                intensity=self.intensity,
            ).total
            for n in trials
        ]
        return np.stack([np.mean(total, axis=-1) for total in totals], axis=-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """Seconds or joules that a row of a decode step costs: a fixed part, and one per key that it reads."""

    token: float
    key: float

    def __mul__(self, factor: float) -> StepCost:
        """The same in other units."""
        return StepCost(token=self.token * factor, key=self.key * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredCost:
    """What measured steps add up to: each answer pays for its tokens and for the keys that they read.

    `vector_keys`: how many keys a block's summary vector weighs. `dense_share`: of the layers, those that run dense
    whatever the policy. `shares_prompt`: a dense prompt is read once for all trials.
    """

    dense: StepCost
    sparse: StepCost
    vector_keys: float = 1.0
    dense_share: float = 0.0
    shares_prompt: bool = False

    def mean_costs(
        self, policy: AttentionPolicy, *, prompt_len: int, lengths: ArrayLike, trials: Sequence[int]
    ) -> FloatArray:
        """See `CostModel`."""
        step = self.dense if isinstance(policy, Dense) else self.sparse
        own, shared = self._keys(sum_groups(policy, prompt_len=prompt_len, lengths=lengths))
        if self.dense_share:
            dense_own, dense_shared = self._keys(sum_groups(Dense(), prompt_len=prompt_len, lengths=lengths))
            own = (1 - self.dense_share) * own + self.dense_share * dense_own
            shared = (1 - self.dense_share) * shared + self.dense_share * dense_shared
        per_trial = step.token * np.asarray(lengths, dtype=np.float64).mean(axis=-1) + step.key * own
        return np.asarray(per_trial[..., None] * np.asarray(trials) + step.key * shared[..., None])

    def __mul__(self, factor: float) -> MeasuredCost:
        """The same in other units."""
        return replace(self, dense=self.dense * factor, sparse=self.sparse * factor)

    def _keys(self, sums: GroupSums) -> tuple[FloatArray, FloatArray]:
        """(read by every trial, read once for all)."""
        read = sums.attended_keys + self.vector_keys * sums.scored_vectors
        if not self.shares_prompt:
            return read, np.zeros_like(read)
        shared = sums.shared_keys + self.vector_keys * sums.shared_vectors
        return read - shared, shared


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelledStepCost:
    """Seconds by a model of a whole decode step of `batch` rows, each row paying its share; trials share nothing.

    `step_s`: seconds of a step in which every row sees so many keys; it is asked for at `contexts`, [num_contexts].
    """

    step_s: Callable[[AttentionPolicy, int], float]
    batch: int
    contexts: FloatArray = field(default_factory=lambda: _MODELLED_CONTEXTS, repr=False, compare=False)
    _known: dict[AttentionPolicy, FloatArray] = field(default_factory=dict, repr=False, compare=False)

    def mean_costs(
        self, policy: AttentionPolicy, *, prompt_len: int, lengths: ArrayLike, trials: Sequence[int]
    ) -> FloatArray:
        """See `CostModel`."""
        # Step t sees prompt_len + t keys: the sum over steps is the integral between half-way points.
        start, end = prompt_len + 0.5, prompt_len + np.asarray(lengths, dtype=np.float64) + 0.5
        seconds = (self._integral(policy, end) - self._integral(policy, start)).mean(axis=-1) / self.batch
        return np.asarray(seconds[..., None] * np.asarray(trials))

    def _integral(self, policy: AttentionPolicy, context: ArrayLike) -> FloatArray:
        """Of the seconds of a step over contexts, from 1 on."""
        steps_s = self._steps_s(policy)
        grid = self.contexts
        sums = np.concatenate([[0.0], np.cumsum(np.diff(grid) * (steps_s[1:] + steps_s[:-1]) / 2)])
        at = np.asarray(context, dtype=np.float64)
        segment = np.clip(np.searchsorted(grid, at, side="right") - 1, 0, grid.size - 2)
        here_s = np.interp(at, grid, steps_s)
        return np.asarray(sums[segment] + (at - grid[segment]) * (steps_s[segment] + here_s) / 2)

    def _steps_s(self, policy: AttentionPolicy) -> FloatArray:
        if policy not in self._known:
            self._known[policy] = np.array([self.step_s(policy, int(context)) for context in self.contexts])
        return self._known[policy]


def counted_as_published(model: ModelSpec) -> int:
    """Parameters as the published table counts them; of a model outside it all of them."""
    return num_published_parameters(model) if model.name in PUBLISHED_BILLION_PARAMETERS else model.num_parameters


def _stretch(lengths: FloatArray, trials: Sequence[int]) -> FloatArray:
    """How much longer than the mean the longest of so many trials is: [..., num_trials]."""
    groups = lengths.reshape(-1, lengths.shape[-1])
    longest = [[expected_longest(group, trials=n) / max(group.mean(), 1e-9) for n in trials] for group in groups]
    return np.asarray(longest).reshape(*lengths.shape[:-1], len(trials))


def _published_policy(policy: AttentionPolicy) -> AttentionPolicy:
    match policy:
        case BlockTopK():
            return replace(policy, num_sink_tokens=0, keeps_partial_block=False, summary=BlockSummary.MEAN)
        case TopK() | Local():
            return replace(policy, num_sink_tokens=0)
        case _:
            return policy
