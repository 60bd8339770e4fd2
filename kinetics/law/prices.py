"""Prices of a question: one cost per number of trials, under the rule the caller chooses.

A price turns (policy, prompt, observed lengths, trials) into the mean cost of that many trials. Exact eFLOPs, the
FLOPs-only law (intensity 0), the published formulas and seconds on a device all have this one shape, so that
allocations and frontiers need not know which of them they optimise.
"""

from collections.abc import Sequence
from typing import Protocol

from kinetics.cost.answers import DEFAULT_OPTIONS, Combine, CostOptions, expected_longest, question_work
from kinetics.cost.published import INTENSITY, mean_paper_cost
from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import AttentionPolicy
from kinetics.specs.units import TERA


class Price(Protocol):
    """Mean cost of a question for each number of trials."""

    def __call__(
        self, policy: AttentionPolicy, *, prompt_len: int, lengths: Sequence[int], trials: Sequence[int]
    ) -> list[float]:
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

    def price(
        policy: AttentionPolicy, *, prompt_len: int, lengths: Sequence[int], trials: Sequence[int]
    ) -> list[float]:
        work = question_work(
            model, policy, prompt_len=prompt_len, lengths=lengths, num_parameters=num_parameters, options=options
        )
        num_answers, num_tokens = len(lengths), sum(lengths)
        costs = []
        for n in trials:
            stretch = 1.0
            if reads_prompt_to_longest and num_tokens:
                stretch = expected_longest(lengths, trials=n) * num_answers / num_tokens
            flop = (n * work.per_trial.flop + work.shared.flop) / num_answers
            num_bytes = (n * work.per_trial.num_bytes + stretch * work.shared.num_bytes) / num_answers
            compute, memory = flop / TERA, num_bytes * intensity / TERA
            costs.append(max(compute, memory) if combine is Combine.MAX else compute + memory)
        return costs

    return price


def paper_price(model: ModelSpec, *, intensity: float = INTENSITY, num_parameters: float | None = None) -> Price:
    """The published formulas, their mistakes included, as 1e12 eFLOP."""

    def price(
        policy: AttentionPolicy, *, prompt_len: int, lengths: Sequence[int], trials: Sequence[int]
    ) -> list[float]:
        return [
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

    return price
