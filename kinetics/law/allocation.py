"""The paper's oracle: the best strategy for every question, chosen on the very samples that score it.

Algorithms 1 and 2 choose for every question the strategy with the highest accuracy among those that cost at most C.
That is optimistic, the more so the more strategies there are; `cross_validate` chooses on one half of the samples and
scores on the other. What a person can do, one choice for all questions, is in `choices`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kinetics.law.frontier import best_within
from kinetics.law.intervals import FloatArray
from kinetics.law.strategies import StrategyTable
from kinetics.samples.sample_set import Question, SampleSet


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Allocation:
    """Accuracy and chosen strategy per question and cost cap. All: [num_questions, num_costs].

    Where nothing `is_affordable`, accuracy is 0 and `strategy` says nothing.
    """

    accuracy: FloatArray
    strategy: NDArray[np.int64]
    is_affordable: NDArray[np.bool_]


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
