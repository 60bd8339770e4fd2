"""The best use of a budget: which model, policy, number of trials and length, question by question or once for all.

Algorithms 1 and 2 of the paper choose for every question the strategy with the highest accuracy among those that cost
at most C, on the very samples that score it. That oracle is optimistic, the more so the more strategies there are;
`cross_validate` chooses on one half of the samples and scores on the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kinetics.law.accuracy_estimates import correct_within, coverage, resampled_means
from kinetics.law.cost_models import CostModel
from kinetics.law.frontier import FloatArray, Frontier, best_within
from kinetics.samples.sample_set import Question, SampleSet
from kinetics.specs.policies import AttentionPolicy, PolicyKind, policy_label

NUM_COSTS: Final = 60
"""Of the grid that frontiers of one's own samples are drawn on."""
NUM_RESAMPLES: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """A way to spend: so many trials of a model under a policy, each cut at `max_generated` tokens, if that is set."""

    model: str
    policy: AttentionPolicy
    trials: int
    max_generated: int | None

    @property
    def kind(self) -> PolicyKind:
        """The kind of its policy."""
        return self.policy.kind

    @property
    def label(self) -> str:
        """Model and policy, as people would ask for them."""
        return f"{self.model} {policy_label(self.policy)}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StrategyTable:
    """What each strategy scores, generates and costs on each question. Arrays: [num_questions, num_strategies].

    `tokens`: generated ones of all trials together, on average. `cost`: by the name of the cost model, nan where a
    strategy has none of that name.
    """

    strategies: tuple[Strategy, ...]
    accuracy: FloatArray
    tokens: FloatArray
    cost: Mapping[str, FloatArray]

    def only(self, is_wanted: Callable[[Strategy], bool]) -> StrategyTable:
        """The table of some of its strategies."""
        index = [i for i, strategy in enumerate(self.strategies) if is_wanted(strategy)]
        return self._take(index)

    def priced(self, name: str) -> StrategyTable:
        """The table of the strategies that have a cost of this name."""
        if name not in self.cost:
            return self._take([])
        return self._take(np.flatnonzero(np.isfinite(self.cost[name]).all(axis=0)).tolist())

    def _take(self, index: Sequence[int]) -> StrategyTable:
        return StrategyTable(
            strategies=tuple(self.strategies[i] for i in index),
            accuracy=self.accuracy[:, index],
            tokens=self.tokens[:, index],
            cost={name: cost[:, index] for name, cost in self.cost.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Allocation:
    """Accuracy and chosen strategy per question and cost cap. All: [num_questions, num_costs].

    Where nothing `is_affordable`, accuracy is 0 and `strategy` says nothing.
    """

    accuracy: FloatArray
    strategy: NDArray[np.int64]
    is_affordable: NDArray[np.bool_]


CostModelsOf = Callable[[SampleSet], Mapping[str, CostModel]]
CapsOf = Callable[[SampleSet], Sequence[int | None]]


def tabulate(
    sets: Sequence[SampleSet], *, trials: Sequence[int], caps_of: CapsOf, cost_models_of: CostModelsOf
) -> StrategyTable:
    """Every set with every length cap and every number of trials that each question has answers for.

    Accuracy is pass@trials of the answers that ended within the cap; a cap of None cuts nothing.

    Raises: ValueError if sets do not belong together.
    """
    check_comparable(sets)
    parts = [
        _at_cap(samples, cap, [n for n in trials if n <= samples.min_trials], cost_models_of(samples))
        for samples in sets
        for cap in caps_of(samples)
    ]
    names = dict.fromkeys(name for part in parts for name in part.cost)
    return StrategyTable(
        strategies=tuple(strategy for part in parts for strategy in part.strategies),
        accuracy=np.concatenate([part.accuracy for part in parts], axis=1),
        tokens=np.concatenate([part.tokens for part in parts], axis=1),
        cost={
            name: np.concatenate(
                [part.cost.get(name, np.full_like(part.accuracy, np.nan)) for part in parts], axis=1
            )
            for name in names
        },
    )  # fmt: skip


def allocate(table: StrategyTable, cost_name: str, grid: FloatArray) -> Allocation:
    """Per question and cap: the most accurate strategy that costs at most the cap, the cheapest of equals.

    Accuracy is 0 where no strategy is affordable.
    """
    cost = table.cost[cost_name]
    found = [best_within(*of_question, grid) for of_question in zip(cost, table.accuracy, strict=True)]
    return Allocation(
        accuracy=np.stack([best.reached(scores) for best, scores in zip(found, table.accuracy, strict=True)]),
        strategy=np.stack([best.leader for best in found]),
        is_affordable=np.stack([best.is_affordable for best in found]),
    )


def chosen_spending(table: StrategyTable, allocation: Allocation) -> tuple[FloatArray, FloatArray]:
    """(tokens, KV budget) that the allocation spends at each cap; nan where some question affords nothing.

    Tokens are those of the question that takes most, as in the paper; KV budgets are averaged over questions and are
    nan with a dense policy among the chosen.
    """
    budgets = np.array([getattr(strategy.policy, "kv_budget", np.nan) for strategy in table.strategies])
    is_affordable = allocation.is_affordable.all(axis=0)
    tokens = np.take_along_axis(table.tokens, allocation.strategy, axis=1).max(axis=0)
    mean_budget = budgets[allocation.strategy].mean(axis=0)
    return np.where(is_affordable, tokens, np.nan), np.where(is_affordable, mean_budget, np.nan)


def uniform_accuracy(table: StrategyTable, cost_name: str, grid: FloatArray) -> FloatArray:
    """Accuracy of the best single strategy for all questions whose mean cost is at most each cap: no oracle."""
    accuracy = table.accuracy.mean(axis=0)
    return best_within(table.cost[cost_name].mean(axis=0), accuracy, grid).reached(accuracy)


def uniform_frontiers(table: StrategyTable, cost_name: str, *, seed: int = 0) -> list[Frontier[Strategy]]:
    """One frontier over all models per kind of attention that has this cost, on one grid: one choice for all questions.

    Empty if no strategy has the cost.
    """
    priced = table.priced(cost_name)
    if not priced.strategies:
        return []
    costs = priced.cost[cost_name].mean(axis=0)
    grid = np.geomspace(costs.min(), costs.max(), NUM_COSTS)
    kinds = {strategy.kind for strategy in priced.strategies}
    return [_uniform_frontier(priced, kind, cost_name, grid, seed=seed) for kind in PolicyKind if kind in kinds]


def _uniform_frontier(
    table: StrategyTable, kind: PolicyKind, cost_name: str, grid: FloatArray, *, seed: int
) -> Frontier[Strategy]:
    own = table.only(lambda strategy: strategy.kind is kind)
    accuracy = own.accuracy.mean(axis=0)
    # The dearest point of the grid is a power, and may round to less than what it stands for.
    found = best_within(own.cost[cost_name].mean(axis=0), accuracy, grid * (1 + 1e-12))
    chosen = zip(found.leader, found.is_affordable, strict=True)
    return Frontier(
        kind=kind,
        cost=grid,
        accuracy=found.reached(accuracy),
        best=tuple(own.strategies[i] if is_affordable else None for i, is_affordable in chosen),
        per_resample=found.reached(resampled_means(own.accuracy, num_resamples=NUM_RESAMPLES, seed=seed)),
    )


def cross_validate(
    sets: Sequence[SampleSet],
    tabulate_sets: Callable[[Sequence[SampleSet]], StrategyTable],
    cost_name: str,
    grid: FloatArray,
    *,
    num_splits: int = 5,
    seed: int = 0,
) -> tuple[FloatArray, FloatArray]:
    """(oracle, held out): accuracy per question and cap when strategies are chosen on a random half of the samples.

    `oracle` scores the choice on the half that made it, `held_out` on the other half; their difference is the
    winner's curse. Both are means over `num_splits` splits, each used in both directions.
    """
    rng = np.random.default_rng(seed)
    oracle = np.zeros((len(sets[0].questions), grid.size))
    held_out = np.zeros_like(oracle)
    for _ in range(num_splits):
        halves = [_split(samples, rng) for samples in sets]
        tables = [tabulate_sets([half[side] for half in halves]) for side in (0, 1)]
        for chooser, judge in ((tables[0], tables[1]), (tables[1], tables[0])):
            chosen = allocate(chooser, cost_name, grid)
            oracle += chosen.accuracy
            judged = np.take_along_axis(judge.accuracy, chosen.strategy, axis=1)
            held_out += np.where(chosen.is_affordable, judged, 0.0)
    return oracle / (2 * num_splits), held_out / (2 * num_splits)


def check_comparable(sets: Sequence[SampleSet]) -> None:
    """Refuse sets that must not share a table.

    Raises: ValueError if data sets or question sets differ, or a model comes twice under one policy.
    """
    if not sets:
        raise ValueError("a law needs at least one sample set, got none")
    first = sets[0]
    for other in sets[1:]:
        if other.dataset != first.dataset:
            raise ValueError(
                f"sample sets of one law must share a data set, got {first.dataset} and {other.dataset}; "
                "make one law per data set"
            )
        if other.question_ids != first.question_ids:
            odd = sorted(other.question_ids ^ first.question_ids)
            raise ValueError(
                f"all sample sets must hold the same questions, got {len(odd)} that {_name(first)} and {_name(other)} "
                f"do not share, first {odd[0]}; leave one of them out"
            )
    keys = [(samples.model, samples.policy) for samples in sets]
    for samples, key in zip(sets, keys, strict=True):
        if keys.count(key) > 1:
            raise ValueError(f"sample sets must differ in model or policy, got {_name(samples)} twice; merge the files")


def _name(samples: SampleSet) -> str:
    return f"{samples.model} {policy_label(samples.policy)}"


def _at_cap(
    samples: SampleSet, cap: int | None, trials: Sequence[int], cost_models: Mapping[str, CostModel]
) -> StrategyTable:
    """The strategies of one set at one cap, one per number of trials."""
    questions = sorted(samples.questions, key=lambda question: question.question_id)
    cuts = [question.lengths if cap is None else [min(n, cap) for n in question.lengths] for question in questions]
    pairs = list(zip(questions, cuts, strict=True))
    return StrategyTable(
        strategies=tuple(
            Strategy(model=samples.model, policy=samples.policy, trials=n, max_generated=cap) for n in trials
        ),
        accuracy=np.array([_coverages(question, cap, trials) for question in questions]),
        tokens=np.array([[n * sum(cut) / question.num_trials for n in trials] for question, cut in pairs]),
        cost={
            name: np.array(
                [
                    model.mean_costs(samples.policy, prompt_len=question.prompt_len, lengths=cut, trials=trials)
                    for question, cut in pairs
                ]
            )
            for name, model in cost_models.items()
        },
    )


def _coverages(question: Question, cap: int | None, trials: Sequence[int]) -> list[float]:
    num_correct = question.num_correct if cap is None else sum(correct_within(question, cap))
    return [coverage(question.num_trials, num_correct, trials=n) for n in trials]


def _split(samples: SampleSet, rng: np.random.Generator) -> tuple[SampleSet, SampleSet]:
    """Two random halves of every question's answers."""
    sides: tuple[list[Question], list[Question]] = ([], [])
    for question in samples.questions:
        if question.num_trials < 2:
            raise ValueError(f"cross-validation needs two answers a question, got 1 for {question.question_id}")
        order = rng.permutation(question.num_trials).tolist()
        middle = question.num_trials // 2
        sides[0].append(question.subset(order[:middle]))
        sides[1].append(question.subset(order[middle : 2 * middle]))
    first, second = (replace(samples, questions=tuple(side)) for side in sides)
    return first, second
