"""Prices of a question: one cost per number of trials, under the rule the caller chooses.

A price turns (policy, prompt, observed lengths, trials) into the mean cost of that many trials. Exact eFLOPs, the
FLOPs-only law (intensity 0), the published formulas and seconds on a device all have this one shape, so that
allocations and frontiers need not know which of them they optimise.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kinetics.answer_cost import DEFAULT_OPTIONS, Combine, CostOptions, expected_longest, question_work
from kinetics.attention_policy import AttentionPolicy
from kinetics.model_specs import ModelSpec
from kinetics.paper import INTENSITY, mean_paper_cost
from kinetics.units import TERA

FloatArray = NDArray[np.float64]


class Price(Protocol):
    """Mean cost of a question for each number of trials."""

    def __call__(
        self, policy: AttentionPolicy, *, prompt_len: int, lengths: Sequence[int], trials: Sequence[int]
    ) -> FloatArray:
        """One cost per entry of `trials`, averaged over the observed answer lengths."""


def exact_price(
    model: ModelSpec,
    *,
    intensity: float,
    combine: Combine = Combine.SUM,
    options: CostOptions = DEFAULT_OPTIONS,
    num_parameters: int | None = None,
    reads_prompt_to_longest: bool = False,
) -> Price:
    """Integer counts as 1e12 eFLOP; an intensity of 0 gives the FLOPs-only law.

    `reads_prompt_to_longest`: a dense prompt is read until the longest of the trials ends, instead of for the mean
    length as the paper has it. It needs as many observed lengths as trials.
    """

    def price(policy: AttentionPolicy, *, prompt_len: int, lengths: Sequence[int], trials: Sequence[int]) -> FloatArray:
        work = question_work(
            model, policy, prompt_len=prompt_len, lengths=lengths, num_parameters=num_parameters, options=options
        )
        counts = np.asarray(trials, dtype=np.float64)
        stretch = np.ones_like(counts)
        total_length = float(np.sum(lengths))
        if reads_prompt_to_longest and total_length:
            longest = [expected_longest(lengths, trials=n) for n in trials]
            stretch = np.array(longest) * len(lengths) / total_length
        flop = (counts * work.per_trial.flop + work.shared.flop) / len(lengths)
        num_bytes = (counts * work.per_trial.num_bytes + stretch * work.shared.num_bytes) / len(lengths)
        compute, memory = flop / TERA, num_bytes * intensity / TERA
        return np.maximum(compute, memory) if combine is Combine.MAX else compute + memory

    return price


def paper_price(model: ModelSpec, *, intensity: float = INTENSITY, num_parameters: float | None = None) -> Price:
    """The published formulas, their mistakes included, as 1e12 eFLOP."""

    def price(policy: AttentionPolicy, *, prompt_len: int, lengths: Sequence[int], trials: Sequence[int]) -> FloatArray:
        costs = [
            mean_paper_cost(
                model,
                policy,
                prompt_len=prompt_len,
                lengths=lengths,
                trials=n,
                intensity=intensity,
                num_parameters=num_parameters,
            ).total
            for n in trials
        ]
        return np.array(costs)

    return price
