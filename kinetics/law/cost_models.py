"""What a question costs: a mean cost per number of trials, under the rule that the caller chooses.

A cost model turns (policy, prompt, observed lengths, trials) into the mean cost of that many trials. Allocations and
frontiers do not know which of them they optimise: exact or published eFLOPs, or seconds and joules of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np

from kinetics.cost.answers import (
    DEFAULT_OPTIONS,
    Combine,
    CostOptions,
    StepSums,
    expected_longest,
    question_work,
    sum_answers,
)
from kinetics.cost.published import INTENSITY, PUBLISHED_BILLION_PARAMETERS, mean_paper_cost, num_published_parameters
from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import AttentionPolicy, BlockSummary, BlockTopK, Dense, Local, TopK
from kinetics.specs.units import TERA

_MODELLED_CONTEXTS: Final = 5
"""Contexts at which a modelled step is asked for per answer; between them it is linear."""


class CostModel(Protocol):
    """Mean cost of a question for each number of trials."""

    def mean_costs(
        self, policy: AttentionPolicy, *, prompt_len: int, lengths: Sequence[int], trials: Sequence[int]
    ) -> list[float]:
        """One cost per entry of `trials`, averaged over the observed answer lengths."""


CostModelOf = Callable[[ModelSpec], CostModel]
"""The cost model of a model's architecture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EFlopCost:
    """Integer counts as 1e12 eFLOP; an intensity of 0 gives the FLOPs-only law.

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
        self, policy: AttentionPolicy, *, prompt_len: int, lengths: Sequence[int], trials: Sequence[int]
    ) -> list[float]:
        """See `CostModel`."""
        work = question_work(
            self.model,
            policy,
            prompt_len=prompt_len,
            lengths=lengths,
            num_parameters=self.num_parameters,
            options=self.options,
        )
        num_answers, num_tokens = len(lengths), sum(lengths)
        costs = []
        for n in trials:
            stretch = 1.0
            if self.reads_prompt_to_longest and num_tokens:
                stretch = expected_longest(lengths, trials=n) * num_answers / num_tokens
            flop = (n * work.per_trial.flop + work.shared.flop) / num_answers
            num_bytes = (n * work.per_trial.num_bytes + stretch * work.shared.num_bytes) / num_answers
            compute, memory = flop / TERA, num_bytes * self.intensity / TERA
            costs.append(max(compute, memory) if self.combine is Combine.MAX else compute + memory)
        return costs


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedCost:
    """The published formulas, their mistakes included, as 1e12 eFLOP.

    Sinks, partial blocks and minima, which the formulas do not know, are left out. A model outside the published
    table has all its parameters counted, embeddings included as there.
    """

    model: ModelSpec
    intensity: float = INTENSITY

    def mean_costs(
        self, policy: AttentionPolicy, *, prompt_len: int, lengths: Sequence[int], trials: Sequence[int]
    ) -> list[float]:
        """See `CostModel`."""
        return [
            mean_paper_cost(
                self.model,
                _published_policy(policy),
                prompt_len=prompt_len,
                lengths=lengths,
                trials=n,
                intensity=self.intensity,
                num_parameters=counted_as_published(self.model),
            ).total
            for n in trials
        ]


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
        self, policy: AttentionPolicy, *, prompt_len: int, lengths: Sequence[int], trials: Sequence[int]
    ) -> list[float]:
        """See `CostModel`."""
        step = self.dense if isinstance(policy, Dense) else self.sparse
        own = shared = 0.0
        for share, layer_policy in ((1 - self.dense_share, policy), (self.dense_share, Dense())):
            if share:
                layer_own, layer_shared = self._keys(sum_answers(layer_policy, prompt_len=prompt_len, lengths=lengths))
                own += share * layer_own / len(lengths)
                shared += share * layer_shared / len(lengths)
        per_trial = step.token * sum(lengths) / len(lengths) + step.key * own
        return [n * per_trial + step.key * shared for n in trials]

    def __mul__(self, factor: float) -> MeasuredCost:
        """The same in other units."""
        return replace(self, dense=self.dense * factor, sparse=self.sparse * factor)

    def _keys(self, sums: StepSums) -> tuple[float, float]:
        """(read by every trial, read once for all)."""
        read = sums.attended_keys + self.vector_keys * sums.scored_vectors
        shared = sums.shared_keys + self.vector_keys * sums.shared_vectors if self.shares_prompt else 0.0
        return read - shared, shared


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelledStepCost:
    """Seconds by a model of a whole decode step of `batch` rows, each row paying its share; trials share nothing.

    `step_s`: seconds of a step in which every row sees so many keys.
    """

    step_s: Callable[[AttentionPolicy, int], float]
    batch: int

    def mean_costs(
        self, policy: AttentionPolicy, *, prompt_len: int, lengths: Sequence[int], trials: Sequence[int]
    ) -> list[float]:
        """See `CostModel`."""
        mean_s = sum(self._answer_s(policy, prompt_len, length) for length in lengths) / len(lengths)
        return [n * mean_s for n in trials]

    def _answer_s(self, policy: AttentionPolicy, prompt_len: int, length: int) -> float:
        contexts = np.linspace(prompt_len + 1, prompt_len + max(1, length), _MODELLED_CONTEXTS)
        mean_s = float(np.mean([self.step_s(policy, round(context)) for context in contexts]))
        return length * mean_s / self.batch


def counted_as_published(model: ModelSpec) -> int:
    """Parameters as the published table counts them; of a model outside it all of them."""
    return num_published_parameters(model) if model.name in PUBLISHED_BILLION_PARAMETERS else model.num_parameters


def _published_policy(policy: AttentionPolicy) -> AttentionPolicy:
    match policy:
        case BlockTopK():
            return replace(policy, num_sink_tokens=0, keeps_partial_block=False, summary=BlockSummary.MEAN)
        case TopK() | Local():
            return replace(policy, num_sink_tokens=0)
        case _:
            return policy
