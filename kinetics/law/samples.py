"""The law from graded samples: one choice for all questions and the oracle, three ways of charging, voting.

Samples come in as `SampleSet`s, costs as cost models; where either is from is not known here. The report has the shape
that the published curves give too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from kinetics.cost.published import TRIALS
from kinetics.law.accuracy_estimates import MANY_CUT_OFF, mean_coverage, mean_length, outcomes
from kinetics.law.allocation import allocate, cross_validate
from kinetics.law.answer import find_answers
from kinetics.law.charging import Charging
from kinetics.law.choices import choices_by_kind, choose, cost_grid
from kinetics.law.claims import BEST_OF_N, HEADLINE_ACCURACY, LONG_COT
from kinetics.law.cost_models import CostModelOf
from kinetics.law.fits import SpendingFit, balance_budget, fit_spending
from kinetics.law.frontier import Curve, smooth_as_published
from kinetics.law.intervals import FloatArray
from kinetics.law.lengthening import compare_lengths
from kinetics.law.report import (
    PAPER_MODELS,
    CurveFacts,
    LawReport,
    ModelResult,
    TaskResult,
    judge_claims,
    oracle_frontiers,
)
from kinetics.law.strategies import (
    CostModelsOf,
    Rule,
    StrategyTable,
    caps_to_longest,
    check_comparable,
    has_votes,
    join,
    tabulate,
    tabulate_votes,
)
from kinetics.samples.sample_set import SampleSet
from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import PolicyKind

LAW, FLOPS, HIDDEN = "", "_flops", "_max"
"""What a task is charged by, as a suffix of its name: the law itself, compute alone, the larger of both."""
VOTE_TASKS: Final = {
    "majority": Rule.MAJORITY,
    "weighted_majority": Rule.WEIGHTED,
    "early_stop": Rule.EARLY_STOP,
}
PAPER_DATASET: Final = "aime24"


def sample_report(
    sets: Sequence[SampleSet],
    specs: Mapping[str, ModelSpec],
    charging: Charging,
    *,
    source: str,
    seed: int = 0,
    dollars_per_hour: float | None = None,
    asks_claims: bool = False,
) -> LawReport:
    """The report that graded samples give; the paper's claims are judged if asked for, or if all its models are there.

    `specs` holds the architecture of every model by the name that the samples carry.

    Raises: ValueError if sets do not fit together.
    """
    check_comparable(sets)
    ordered = sorted(sets, key=lambda samples: specs[samples.model].num_active_parameters)
    law = _SampleLaw(sets=ordered, specs=specs, charging=charging, caps=caps_to_longest(ordered), seed=seed)
    priced = {**law.laws, **charging.edges}
    tables = {task: law.tabulate(task, ordered, priced) for task in (LONG_COT, BEST_OF_N)}
    votes = law.tabulate_votes()
    tasks = [law.task(task, suffix, table) for task, table in tables.items() for suffix in law.laws]
    tasks += [law.vote_task(task, rule, votes) for task, rule in VOTE_TASKS.items()] if votes else []
    tasks = [task for task in tasks if task.models]
    fits = _fit_all(tables, specs)
    strategies = join([*tables.values(), *([votes] if votes else [])])
    # The claims are about the paper's questions; other data sets answer none of them.
    is_papers = sets[0].dataset.lower() == PAPER_DATASET
    judged = judge_claims(tasks, _numbers(ordered, tables[LONG_COT], fits)) if is_papers else judge_claims([], {})
    has_all_models = {samples.model for samples in sets} >= PAPER_MODELS
    return LawReport(
        source=source,
        pricing=charging.description,
        tera_eflop_per_s=charging.tera_eflop_per_s,
        device=charging.device,
        tasks=tuple(tasks),
        claims=judged if asks_claims or (is_papers and has_all_models) else (),
        notes=tuple(_notes(ordered)),
        fits=tuple(fits),
        lengthenings=tuple(compare_lengths(ordered, law.cost_models_of((LAW,)), LAW, seed=seed)),
        strategies=strategies,
        answers=tuple(find_answers(strategies, LAW, seed=seed, edges=law.edges(LAW))),
        estimated_models=frozenset(samples.model for samples in sets if samples.has_estimated_lengths),
        dollars_per_hour=dollars_per_hour,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _SampleLaw:
    """Samples, the smallest model first, with what they are charged by."""

    sets: Sequence[SampleSet]
    specs: Mapping[str, ModelSpec]
    charging: Charging
    caps: Sequence[int]
    seed: int

    @property
    def laws(self) -> dict[str, CostModelOf]:
        """The cost models by suffix."""
        return {LAW: self.charging.law, FLOPS: self.charging.flops, HIDDEN: self.charging.hidden}

    def edges(self, suffix: str) -> tuple[str, ...]:
        """The names of a law's costs at the ends of their band: only predicted costs have one."""
        return tuple(self.charging.edges) if suffix == LAW else ()

    def cost_models_of(self, laws: Iterable[str]) -> CostModelsOf:
        """The cost models of a set, by the name of the law: those of its model's architecture."""
        priced = {**self.laws, **self.charging.edges}
        models = {name: {law: priced[law](spec) for law in laws} for name, spec in self.specs.items()}
        return lambda samples: models[samples.model]

    def tabulate(self, task: str, sets: Sequence[SampleSet], laws: Iterable[str]) -> StrategyTable:
        """How a task turns samples into strategies: trials x KV budget, or generation length x KV budget."""
        is_best_of_n = task == BEST_OF_N
        return tabulate(
            sets,
            trials=TRIALS if is_best_of_n else (1,),
            caps_of=lambda _: (None,) if is_best_of_n else self.caps,
            cost_models_of=self.cost_models_of(laws),
        )

    def tabulate_votes(self) -> StrategyTable | None:
        """What voting makes of the sets whose answers were parsed; None without any."""
        voting = [samples for samples in self.sets if has_votes(samples)]
        if not voting:
            return None
        priced = (LAW, *self.charging.edges)
        return tabulate_votes(voting, trials=TRIALS, cost_models_of=self.cost_models_of(priced), seed=self.seed)

    def task(self, task: str, suffix: str, table: StrategyTable) -> TaskResult:
        """One way of spending under one way of charging."""
        grid = cost_grid(table.cost[suffix])
        models = [self._model(task, suffix, table, group, grid) for group in _groups(self.sets)]
        return TaskResult(
            task=task + suffix,
            models=tuple(models),
            choices=tuple(choices_by_kind(table, suffix, grid, seed=self.seed, edges=self.edges(suffix))),
            oracle=oracle_frontiers(models),
        )

    def vote_task(self, task: str, rule: Rule, votes: StrategyTable) -> TaskResult:
        """What voting by one rule gives: nobody needs to know the answer, so there is no oracle to show."""
        table = votes.of_rule(rule)
        grid = cost_grid(votes.cost[LAW])
        models = [
            ModelResult(
                model=group[0].model,
                kind=group[0].policy.kind,
                choices=choose(own, LAW, grid, seed=self.seed, edges=self.edges(LAW)),
                facts=_facts(group, is_of_trials=True),
            )
            for group in _groups(self.sets)
            if (own := table.of_model(group[0].model, group[0].policy.kind)).strategies
        ]
        choices = choices_by_kind(table, LAW, grid, seed=self.seed, edges=self.edges(LAW)) if models else ()
        return TaskResult(task=task, models=tuple(models), choices=tuple(choices))

    def _model(
        self, task: str, suffix: str, table: StrategyTable, group: Sequence[SampleSet], grid: FloatArray
    ) -> ModelResult:
        model, kind = group[0].model, group[0].policy.kind
        own = table.of_model(model, kind)
        accuracy = allocate(own, suffix, grid).accuracy.mean(axis=0)
        if suffix == LAW and self.charging.smooths:
            accuracy = smooth_as_published(accuracy)
        half_oracle, held_out = self._halves(task, group, grid) if suffix == LAW else (None, None)
        return ModelResult(
            model=model,
            kind=kind,
            oracle=Curve(model=model, kind=kind, cost=grid, accuracy=accuracy),
            choices=choose(own, suffix, grid, seed=self.seed, edges=self.edges(suffix)),
            half_oracle=half_oracle,
            held_out=held_out,
            facts=_facts(group, is_of_trials=task == BEST_OF_N),
        )

    def _halves(
        self, task: str, group: Sequence[SampleSet], grid: FloatArray
    ) -> tuple[FloatArray | None, FloatArray | None]:
        """(oracle on half of the samples, its choices scored on the other half); None with a single answer."""
        if min(samples.min_trials for samples in group) < 2:
            return None, None
        halves = cross_validate(group, lambda half: self.tabulate(task, half, (LAW,)), LAW, grid, seed=self.seed)
        oracle, held_out = (half.mean(axis=0) for half in halves)
        return oracle, held_out


def _facts(group: Sequence[SampleSet], *, is_of_trials: bool) -> CurveFacts:
    fewest = min(samples.min_trials for samples in group)
    return CurveFacts(
        has_estimated_lengths=any(samples.has_estimated_lengths for samples in group),
        cut_off=max(outcomes(samples).cut_off for samples in group),
        max_trials=max(n for n in TRIALS if n <= fewest) if is_of_trials else None,
    )


def _groups(sets: Sequence[SampleSet]) -> list[list[SampleSet]]:
    """Sets that share a curve: those of one model under one kind of attention."""
    groups: dict[tuple[str, PolicyKind], list[SampleSet]] = {}
    for samples in sets:
        groups.setdefault((samples.model, samples.policy.kind), []).append(samples)
    return list(groups.values())


def _notes(sets: Sequence[SampleSet]) -> list[str]:
    estimated = sorted({samples.model for samples in sets if samples.has_estimated_lengths})
    notes = [f"token counts are estimated from text for {', '.join(estimated)}"] if estimated else []
    many = {samples.model: outcomes(samples).cut_off for samples in sets}
    said = [f"{model} {share:.0%}" for model, share in many.items() if share > MANY_CUT_OFF]
    return notes + ([f"more than {MANY_CUT_OFF:.0%} of the answers were cut off: {', '.join(said)}"] if said else [])


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
    dense = table.of_kind(PolicyKind.DENSE)
    able = np.flatnonzero(dense.accuracy.mean(axis=0) >= accuracy)
    if not able.size:
        return None
    eflop, flop = (dense.cost[suffix].mean(axis=0)[able] for suffix in (LAW, FLOPS))
    models = [dense.strategies[i].model for i in able]
    chosen = models[int(np.argmin(flop))]
    return float(min(cost for cost, model in zip(eflop, models, strict=True) if model == chosen) / eflop.min())


def _fit_all(tables: Mapping[str, StrategyTable], specs: Mapping[str, ModelSpec]) -> list[SpendingFit]:
    """Growth of tokens and KV budget with cost, per model that has top-k samples and task."""
    topk = {task: table.of_kind(PolicyKind.TOPK) for task, table in tables.items()}
    models = dict.fromkeys(strategy.model for table in topk.values() for strategy in table.strategies)
    fits = [
        fit_spending(
            table.of_model(model, PolicyKind.TOPK),
            LAW,
            cost_grid(table.cost[LAW]),
            model=model,
            task=task,
            budget_offset=-balance_budget(specs[model]),
        )
        for model in models
        for task, table in topk.items()
    ]
    return [fit for fit in fits if fit is not None]
