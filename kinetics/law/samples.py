"""The law from graded samples: oracle and held-out allocations, three ways of charging, refitted exponents.

Samples come in as `SampleSet`s, costs as cost models; where either is from is not known here. The report has the shape
that the published curves give too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from kinetics.cost.published import GENERATION_BUDGETS, TRIALS
from kinetics.law.accuracy_estimates import bootstrap_interval, mean_coverage, mean_length
from kinetics.law.allocation import (
    StrategyTable,
    allocate,
    check_comparable,
    cross_validate,
    tabulate,
    uniform_accuracy,
)
from kinetics.law.charging import Charging
from kinetics.law.claims import BEST_OF_N, LONG_COT
from kinetics.law.cost_models import CostModelOf
from kinetics.law.fits import SpendingFit, balance_budget, fit_spending
from kinetics.law.frontier import Curve, FloatArray, smooth_as_published
from kinetics.law.report import PAPER_MODELS, LawReport, ModelResult, judge_claims, task_result
from kinetics.samples.sample_set import SampleSet
from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import PolicyKind

COST_GRID: Final[FloatArray] = np.logspace(np.log10(20), np.log10(4e4), 100)
"""Cost caps per question in 1e12 eFLOP, as the published notebooks space them."""

LAW, FLOPS, HIDDEN = "", "_flops", "_max"
"""What a task is charged by, as a suffix of its name: the law itself, compute alone, the larger of both."""
PAPER_DATASET: Final = "aime24"
HEADLINE_ACCURACY: Final = 0.717
"""Accuracy at which the paper's first figure compares the two laws."""


def sample_report(
    sets: Sequence[SampleSet], specs: Mapping[str, ModelSpec], charging: Charging, *, source: str, seed: int = 0
) -> LawReport:
    """The report that graded samples give.

    `specs` holds the architecture of every model by the name that the samples carry.

    Raises: ValueError if sets do not fit together.
    """
    check_comparable(sets)
    ordered = sorted(sets, key=lambda samples: specs[samples.model].num_active_parameters)
    laws = {LAW: charging.law, FLOPS: charging.flops, HIDDEN: charging.hidden}
    tables = {task: _tabulate(task, ordered, specs, laws) for task in (LONG_COT, BEST_OF_N)}
    tasks = []
    for task, table in tables.items():
        for suffix in laws:
            models = [
                _model_result(task, group, table, suffix, specs, charging, seed=seed) for group in _groups(ordered)
            ]
            tasks.append(task_result(task + suffix, models))
    fits = _fit_all(tables, specs)
    # The claims are about the paper's questions; other data sets answer none of them.
    is_papers = sets[0].dataset.lower() == PAPER_DATASET
    estimated = sorted({samples.model for samples in sets if samples.has_estimated_lengths})
    notes = (f"token counts are estimated from characters for {', '.join(estimated)}",) if estimated else ()
    return LawReport(
        source=source,
        pricing=charging.description,
        tera_eflop_per_s=charging.tera_eflop_per_s,
        device=charging.device,
        tasks=tuple(tasks),
        claims=judge_claims(tasks, _numbers(ordered, tables[LONG_COT], fits)) if is_papers else judge_claims([], {}),
        notes=notes,
        fits=tuple(fits),
    )


def _tabulate(
    task: str, sets: Sequence[SampleSet], specs: Mapping[str, ModelSpec], laws: Mapping[str, CostModelOf]
) -> StrategyTable:
    """How a task turns samples into strategies: trials x KV budget, or generation length x KV budget."""
    models = {name: {suffix: of(spec) for suffix, of in laws.items()} for name, spec in specs.items()}
    is_best_of_n = task == BEST_OF_N
    return tabulate(
        sets,
        trials=TRIALS if is_best_of_n else (1,),
        caps_of=lambda _: (None,) if is_best_of_n else GENERATION_BUDGETS,
        cost_models_of=lambda samples: models[samples.model],
    )


def _groups(sets: Sequence[SampleSet]) -> list[list[SampleSet]]:
    """Sets that share a curve: those of one model under one kind of attention."""
    groups: dict[tuple[str, PolicyKind], list[SampleSet]] = {}
    for samples in sets:
        groups.setdefault((samples.model, samples.policy.kind), []).append(samples)
    return list(groups.values())


def _model_result(
    task: str,
    group: Sequence[SampleSet],
    whole: StrategyTable,
    suffix: str,
    specs: Mapping[str, ModelSpec],
    charging: Charging,
    *,
    seed: int,
) -> ModelResult:
    grid, model, kind = COST_GRID, group[0].model, group[0].policy.kind
    table = whole.only(lambda strategy: strategy.model == model and strategy.kind is kind)
    per_question = allocate(table, suffix, grid).accuracy
    low, high = bootstrap_interval(per_question, seed=seed)
    accuracy = per_question.mean(axis=0)
    fewest = min(samples.min_trials for samples in group)
    half_oracle = held_out = None
    if suffix == LAW:
        if fewest > 1:
            tabulate_half: Callable[[Sequence[SampleSet]], StrategyTable] = lambda half: _tabulate(  # noqa: E731
                task, half, {model: specs[model]}, {LAW: charging.law}
            )
            halves = cross_validate(group, tabulate_half, LAW, grid, seed=seed)
            half_oracle, held_out = (half.mean(axis=0) for half in halves)
        accuracy = smooth_as_published(accuracy) if charging.smooths else accuracy
    return ModelResult(
        curve=Curve(model=model, kind=kind, cost=grid, accuracy=accuracy),
        low=low,
        high=high,
        half_oracle=half_oracle,
        held_out=held_out,
        uniform=uniform_accuracy(table, suffix, grid),
        has_estimated_lengths=any(samples.has_estimated_lengths for samples in group),
        max_trials=max(n for n in TRIALS if n <= fewest) if task == BEST_OF_N else None,
    )


def _numbers(sets: Sequence[SampleSet], long_cot: StrategyTable, fits: Sequence[SpendingFit]) -> dict[str, float]:
    """Numbers that claims need and only samples give, by claim key."""
    dense = [samples for samples in sets if samples.policy.kind is PolicyKind.DENSE]
    numbers = {f"sampled_pass1:{samples.model}": 100 * mean_coverage(samples, trials=1) for samples in dense}
    if {samples.model for samples in dense} == PAPER_MODELS:
        numbers["mean_bon_length"] = float(np.mean([mean_length(samples) for samples in dense]))
        ratio = flops_law_penalty(long_cot, accuracy=HEADLINE_ACCURACY)
        if ratio is not None:
            numbers["uniform_cost_ratio"] = ratio
    for fit in fits:
        if fit.model == "Qwen3-8B" and fit.task == BEST_OF_N:
            numbers["fitted_token_exponent"] = fit.tokens.exponent
            numbers["fitted_budget_exponent"] = fit.kv_budget.exponent
    return numbers


def flops_law_penalty(table: StrategyTable, *, accuracy: float) -> float | None:
    """eFLOPs that the FLOPs-optimal dense model pays over the eFLOPs-optimal one for an accuracy.

    One choice for all questions, no oracle. None if no strategy reaches the accuracy.
    """
    dense = table.only(lambda strategy: strategy.kind is PolicyKind.DENSE)
    able = np.flatnonzero(dense.accuracy.mean(axis=0) >= accuracy)
    if not able.size:
        return None
    eflop, flop = (dense.cost[suffix].mean(axis=0)[able] for suffix in (LAW, FLOPS))
    models = [dense.strategies[i].model for i in able]
    chosen = models[int(np.argmin(flop))]
    return float(min(cost for cost, model in zip(eflop, models, strict=True) if model == chosen) / eflop.min())


def _fit_all(tables: Mapping[str, StrategyTable], specs: Mapping[str, ModelSpec]) -> list[SpendingFit]:
    """Growth of tokens and KV budget with cost, per model that has top-k samples and task."""
    topk = {task: table.only(lambda strategy: strategy.kind is PolicyKind.TOPK) for task, table in tables.items()}
    models = dict.fromkeys(strategy.model for table in topk.values() for strategy in table.strategies)
    fits = [
        fit_spending(
            table.only(lambda strategy, model=model: strategy.model == model),  # type: ignore[misc]
            LAW,
            COST_GRID,
            model=model,
            task=task,
            budget_offset=-balance_budget(specs[model]),
        )
        for model in models
        for task, table in topk.items()
    ]
    return [fit for fit in fits if fit is not None]
