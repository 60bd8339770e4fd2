"""The law from graded samples: oracle and held-out allocations, three ways of charging, refitted exponents.

Samples come in as `SampleSet`s, prices as functions; where either is from is not known here. The report has the
shape that the published curves give too.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kinetics.cost.published import GENERATION_BUDGETS, TRIALS
from kinetics.law.accuracy_estimates import bootstrap_interval, mean_coverage, mean_length
from kinetics.law.allocation import (
    BuildOptions,
    allocate,
    best_of_n_options,
    cross_validate,
    long_cot_options,
    uniform_accuracy,
)
from kinetics.law.claims import BEST_OF_N, LONG_COT
from kinetics.law.fits import SpendingFit, balance_budget, fit_spending
from kinetics.law.frontier import Curve, smooth_as_published
from kinetics.law.prices import Price
from kinetics.law.report import PAPER_MODELS, LawReport, ModelResult, judge_claims, task_result
from kinetics.samples.sample_set import SampleSet
from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import Dense, PolicyKind

FloatArray = NDArray[np.float64]
COST_GRID: Final[FloatArray] = np.logspace(np.log10(20), np.log10(4e4), 100)
"""Cost caps per question in 1e12 eFLOP, as the published notebooks space them."""

FLOPS_SUFFIX: Final = "_flops"
HIDDEN_SUFFIX: Final = "_max"
PAPER_DATASET: Final = "aime24"
HEADLINE_ACCURACY: Final = 0.717
"""Accuracy at which the paper's first figure compares the two laws."""

PriceOf = Callable[[ModelSpec], Price]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricing:
    """The three laws that a report compares, and how they are described.

    `eflops` is the law itself; `flops` charges compute alone; `hidden` charges the larger of compute and memory.
    `smooths`: oracle curves carry the published moving average.
    """

    eflops: PriceOf
    flops: PriceOf
    hidden: PriceOf
    description: str
    device: str
    tera_eflop_per_s: float
    smooths: bool = False


def sample_report(
    sets: Sequence[SampleSet], specs: Mapping[str, ModelSpec], pricing: Pricing, *, source: str, seed: int = 0
) -> LawReport:
    """The report that graded samples give.

    `specs` holds the architecture of every model by the name that the samples carry.

    Raises: ValueError if sets that must share a table do not fit together.
    """
    _check_questions(sets)
    tasks = []
    for task in (LONG_COT, BEST_OF_N):
        validated = list(_model_results(task, sets, specs, pricing.eflops, seed=seed, validates=True))
        tasks.append(task_result(task, [_smoothed(model) for model in validated] if pricing.smooths else validated))
        for suffix, price_of in ((FLOPS_SUFFIX, pricing.flops), (HIDDEN_SUFFIX, pricing.hidden)):
            plain = _model_results(task, sets, specs, price_of, seed=seed, validates=False)
            tasks.append(task_result(task + suffix, list(plain)))
    fits = _fit_all(sets, specs, pricing)
    # The claims are about the paper's questions; other data sets answer none of them.
    judged = tasks if sets[0].dataset.lower() == PAPER_DATASET else []
    estimated = sorted({samples.model for samples in sets if samples.has_estimated_lengths})
    notes = (f"token counts are estimated from characters for {', '.join(estimated)}",) if estimated else ()
    return LawReport(
        source=source,
        pricing=pricing.description,
        tera_eflop_per_s=pricing.tera_eflop_per_s,
        device=pricing.device,
        tasks=tuple(tasks),
        claims=judge_claims(judged, sample_numbers(sets, specs, pricing, fits)),
        notes=notes,
        fits=tuple(fits),
    )


def _model_results(
    task: str,
    sets: Sequence[SampleSet],
    specs: Mapping[str, ModelSpec],
    price_of: PriceOf,
    *,
    seed: int,
    validates: bool,
) -> Iterable[ModelResult]:
    for (name, family), group in _groups(sets, specs).items():
        build = options_builder(task, price_of(specs[name]))
        yield _model_result(task, group, build, family=family, seed=seed, validates=validates)


def _groups(sets: Sequence[SampleSet], specs: Mapping[str, ModelSpec]) -> dict[tuple[str, PolicyKind], list[SampleSet]]:
    """Sets by model and family, the smallest model first."""
    groups: dict[tuple[str, PolicyKind], list[SampleSet]] = {}
    for samples in sorted(sets, key=lambda samples: specs[samples.model].num_active_parameters):
        groups.setdefault((samples.model, samples.policy.kind), []).append(samples)
    return groups


def _model_result(
    task: str, group: Sequence[SampleSet], build: BuildOptions, *, family: PolicyKind, seed: int, validates: bool
) -> ModelResult:
    grid = COST_GRID
    table = build(group)
    per_question = allocate(table, grid).accuracy
    low, high = bootstrap_interval(per_question, seed=seed)
    fewest = min(samples.min_trials for samples in group)
    half_oracle = held_out = None
    if validates and fewest > 1:
        halves = cross_validate(group, build, grid, seed=seed)
        half_oracle, held_out = (half.mean(axis=0) for half in halves)
    return ModelResult(
        curve=Curve(model=group[0].model, attention=family.value, cost=grid, accuracy=per_question.mean(axis=0)),
        low=low,
        high=high,
        half_oracle=half_oracle,
        held_out=held_out,
        uniform=uniform_accuracy(table, grid),
        has_estimated_lengths=any(samples.has_estimated_lengths for samples in group),
        max_trials=max(n for n in TRIALS if n <= fewest) if task == BEST_OF_N else None,
    )


def _smoothed(model: ModelResult) -> ModelResult:
    accuracy = smooth_as_published(model.curve.accuracy)
    return replace(model, curve=replace(model.curve, accuracy=accuracy))


def sample_numbers(
    sets: Sequence[SampleSet], specs: Mapping[str, ModelSpec], pricing: Pricing, fits: Sequence[SpendingFit]
) -> dict[str, float]:
    """Numbers that claims need and only samples give, by claim key; none for other questions than the paper's."""
    dense = [samples for samples in sets if isinstance(samples.policy, Dense)]
    if sets[0].dataset.lower() != PAPER_DATASET:
        return {}
    numbers = {f"sampled_pass1:{samples.model}": 100 * mean_coverage(samples, trials=1) for samples in dense}
    if {samples.model for samples in dense} == PAPER_MODELS:
        numbers["mean_bon_length"] = float(np.mean([mean_length(samples) for samples in dense]))
        ratio = flops_law_penalty(dense, specs, pricing, accuracy=HEADLINE_ACCURACY)
        if ratio is not None:
            numbers["uniform_cost_ratio"] = ratio
    for fit in fits:
        if fit.model == "Qwen3-8B" and fit.task == BEST_OF_N:
            numbers["fitted_token_exponent"] = fit.tokens.exponent
            numbers["fitted_budget_exponent"] = fit.kv_budget.exponent
    return numbers


def flops_law_penalty(
    dense: Sequence[SampleSet], specs: Mapping[str, ModelSpec], pricing: Pricing, *, accuracy: float
) -> float | None:
    """eFLOPs that the FLOPs-optimal model pays over the eFLOPs-optimal one for an accuracy in long-CoT.

    One generation budget for all questions, no oracle. None if no model reaches the accuracy.
    """
    flops: dict[str, float] = {}
    eflops: dict[str, float] = {}
    for samples in dense:
        spec = specs[samples.model]
        for costs, price_of in ((flops, pricing.flops), (eflops, pricing.eflops)):
            table = options_builder(LONG_COT, price_of(spec))([samples])
            reached = table.accuracy.mean(axis=0) >= accuracy
            if reached.any():
                costs[samples.model] = float(table.cost.mean(axis=0)[reached].min())
    if not flops:
        return None
    return float(eflops[min(flops, key=lambda model: flops[model])] / min(eflops.values()))


def _fit_all(sets: Sequence[SampleSet], specs: Mapping[str, ModelSpec], pricing: Pricing) -> list[SpendingFit]:
    """Growth of tokens and KV budget with cost, per model that has top-k samples and task."""
    fits = []
    for (name, family), group in _groups(sets, specs).items():
        for task in (LONG_COT, BEST_OF_N) if family is PolicyKind.TOPK else ():
            table = options_builder(task, pricing.eflops(specs[name]))(group)
            offset = -balance_budget(specs[name])
            fits.append(fit_spending(table, COST_GRID, model=name, task=task, budget_offset=offset))
    return [fit for fit in fits if fit is not None]


def options_builder(task: str, price: Price) -> BuildOptions:
    """How a task turns samples into options: trials x KV budget, or generation length x KV budget."""
    if task == BEST_OF_N:
        return partial(best_of_n_options, trials=TRIALS, price=price)
    return partial(long_cot_options, budgets=GENERATION_BUDGETS, price=price)


def _check_questions(sets: Sequence[SampleSet]) -> None:
    if not sets:
        raise ValueError("a report needs at least one sample set, got none")
    for samples in sets[1:]:
        if samples.question_ids != sets[0].question_ids:
            odd = sorted(samples.question_ids ^ sets[0].question_ids)
            raise ValueError(
                f"all sample sets must hold the same questions, got {len(odd)} that {samples.model} and "
                f"{sets[0].model} do not share, first {odd[0]}; leave one of them out"
            )
