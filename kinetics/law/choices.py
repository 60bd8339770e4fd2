"""One strategy for all questions: the best within each cost, scored on questions that did not choose it.

What a person can do who does not know the answers. The choice at each cost is made on all questions, and so is what its
interval is of; its accuracy is cross-validated: chosen on four fifths of the questions, scored on the rest. So
strategies of equal worth gain nothing by being many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kinetics.law.frontier import Frontier, Switch, best_within, cost_to_reach
from kinetics.law.intervals import (
    Estimate,
    FloatArray,
    Interval,
    difference_interval,
    mean_interval,
    ratio_interval,
)
from kinetics.law.strategies import Strategy, StrategyTable
from kinetics.specs.policies import PolicyKind

NUM_FOLDS: Final = 5
NUM_REPEATS: Final = 4
SWITCH_CONFIDENCE: Final = 0.98
_FIRST_COST: Final = 20.0
_COST_STEP: Final = np.log(4e4 / 20) / 99
"""Grids go through the published one's points, 100 from 20 to 40,000, and on in both directions as far as data do."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CostBand:
    """What errors of predicted costs do to choices: all costs at the low end of their bands, and at the high end.

    `cheap`, `dear`: accuracy per question of what is then chosen, [num_questions, num_costs]. `low`, `high`: cost of
    the strategy named at each cost, as a share of what is predicted, [num_costs].
    """

    cheap: FloatArray
    dear: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Choices(Frontier[Strategy]):
    """The best strategy for all questions within each cost; `accuracy` is cross-validated.

    `per_question`: accuracy of the strategy named at each cost; `held_out`: of those that other questions choose;
    `own_cost`: what the one named costs. All [num_questions, num_costs], 0 where nothing is affordable. `band`: where
    costs are predictions.
    """

    per_question: FloatArray
    held_out: FloatArray
    own_cost: FloatArray
    seed: int
    band: CostBand | None = None

    @property
    def chosen_accuracy(self) -> FloatArray:
        """Accuracy on the questions that chose: no lower, on average, than on others."""
        return np.asarray(self.per_question.mean(axis=0))

    @cached_property
    def interval(self) -> Interval:
        """Of the accuracy of the strategy named at each cost, errors of predicted costs included."""
        own = mean_interval(self.per_question, seed=self.seed)
        if self.band is None:
            return own
        dear, cheap = (mean_interval(values, seed=self.seed) for values in (self.band.dear, self.band.cheap))
        return Interval(low=np.minimum(own.low, dear.low), high=np.maximum(own.high, cheap.high))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """What sparse choices give over dense ones.

    `points` of accuracy at `cost`, where the lead is largest; `cost_ratio`: how many times less sparse pays for the
    highest accuracy that dense reaches, 0 if it never gets there.
    """

    cost: float
    points: Estimate
    cost_ratio: Estimate


def cost_grid(*costs: FloatArray) -> FloatArray:
    """Costs in equal steps of the logarithm, from the cheapest strategy on any question to the dearest."""
    positive = np.concatenate([cost[np.isfinite(cost) & (cost > 0)] for cost in costs])
    first, last = (np.log(end / _FIRST_COST) / _COST_STEP for end in (positive.min(), positive.max()))
    grid: FloatArray = _FIRST_COST * np.exp(_COST_STEP * np.arange(np.floor(first), np.ceil(last) + 1))
    return grid


def choose(
    table: StrategyTable, cost_name: str, grid: FloatArray, *, seed: int = 0, edges: Sequence[str] = ()
) -> Choices:
    """The best strategy within each mean cost; all of one kind of attention.

    `edges`: names of the costs at the low and the high end of their bands, if costs are predictions.
    """
    # The dearest point of a grid is a power, and may round to less than what it stands for.
    cost, caps = table.cost[cost_name].mean(axis=0), grid * (1 + 1e-12)
    found = best_within(cost, table.accuracy.mean(axis=0), caps)
    held_out = np.zeros((len(table.accuracy), grid.size))
    splits = list(_splits(len(table.accuracy), seed=seed))
    for is_test in splits:
        leader = best_within(cost, table.accuracy[~is_test].mean(axis=0), caps).leader
        held_out[is_test] += table.accuracy[is_test][:, leader] * NUM_FOLDS / len(splits)
    per_question = table.accuracy[:, found.leader] * found.is_affordable
    held_out = held_out * found.is_affordable if splits else per_question
    chosen = zip(found.leader, found.is_affordable, strict=True)
    return Choices(
        kind=table.strategies[0].kind,
        cost=grid,
        accuracy=held_out.mean(axis=0),
        best=tuple(table.strategies[i] if is_affordable else None for i, is_affordable in chosen),
        per_question=per_question,
        held_out=held_out,
        own_cost=table.cost[cost_name][:, found.leader] * found.is_affordable,
        seed=seed,
        band=_band(table, cost, edges, caps, found.leader) if edges else None,
    )


def _band(
    table: StrategyTable, cost: FloatArray, edges: Sequence[str], caps: FloatArray, leader: NDArray[np.int64]
) -> CostBand:
    low, high = (table.cost[name].mean(axis=0) for name in edges)
    mean = table.accuracy.mean(axis=0)
    cheap, dear = (best_within(edge, mean, caps) for edge in (low, high))
    return CostBand(
        cheap=table.accuracy[:, cheap.leader] * cheap.is_affordable,
        dear=table.accuracy[:, dear.leader] * dear.is_affordable,
        low=(low / cost)[leader],
        high=(high / cost)[leader],
    )


def choices_by_kind(
    table: StrategyTable, cost_name: str, grid: FloatArray, *, seed: int = 0, edges: Sequence[str] = ()
) -> list[Choices]:
    """The choices over all models for each kind of attention."""
    groups = (table.of_kind(kind) for kind in PolicyKind)
    return [choose(group, cost_name, grid, seed=seed, edges=edges) for group in groups if group.strategies]


def lead_over_dense(dense: Choices, sparse: Choices) -> Lead:
    """What sparse choices give over dense ones on the same questions and costs."""
    gain = sparse.held_out - dense.held_out
    where = int(np.argmax(gain.mean(axis=0)))
    interval = difference_interval(sparse.per_question - dense.per_question, seed=dense.seed)
    # The place is chosen for its gain: what it is worth, other questions say.
    splits = list(_splits(len(gain), seed=dense.seed))
    held_out = [gain[is_test][:, np.argmax(gain[~is_test].mean(axis=0))].sum() for is_test in splits]
    value = float(sum(held_out) / len(gain) * NUM_FOLDS / len(splits)) if splits else float(gain[:, where].mean())
    # So much more than it is worth does it seem to be where it was chosen, and the low end with it.
    seeming = float((sparse.per_question - dense.per_question)[:, where].mean())
    low = float(interval.low[where]) + min(0.0, value - seeming)
    points = _percent(Estimate(value=value, low=low, high=float(interval.high[where])))
    return Lead(cost=float(dense.cost[where]), points=points, cost_ratio=_cost_ratio(dense, sparse))


def switch_points(models: Sequence[tuple[str, Choices]], *, seed: int = 0) -> list[Switch]:
    """Costs from which another model is clearly better than the best so far: the paired 98 % interval excludes zero.

    `models`: one model's choices each, the smallest first. The first switch is to the first model that solves anything.
    """
    names = [name for name, _ in models]
    values = np.stack([choices.per_question for _, choices in models])
    means, grid = values.mean(axis=1), models[0][1].cost
    solved = np.flatnonzero(means.max(axis=0) > 0)
    if not solved.size:
        return []
    place = int(solved[0])
    best = int(np.argmax(means[:, place]))
    leads = _leads(values, best, seed=seed)
    switches = [
        Switch(
            cost=float(grid[place]), model=names[best], accuracy=float(models[best][1].accuracy[place]),
            level_with=_level(leads, names, best, place),
        )
    ]  # fmt: skip
    while (later := _clearly_passed(leads, means, place + 1)) is not None:
        passed, (place, best), old_leads = best, later, leads
        leads = _leads(values, best, seed=seed)
        ahead = np.flatnonzero(old_leads[best].low[:place] > 0)
        low = int(ahead[-1]) if ahead.size else 0
        worse = np.flatnonzero(means[best, low:place] < means[passed, low:place])
        crossing = low + int(worse[-1]) + 1 if worse.size else low
        least, most = _cost_shares(models[passed][1], low), _cost_shares(models[best][1], place)
        switches.append(
            Switch(
                cost=float(grid[crossing]),
                model=names[best],
                accuracy=float(models[best][1].accuracy[crossing]),
                low=float(grid[low] * least[0]),
                high=float(grid[place] * most[1]),
                level_with=_level(leads, names, best, place),
            )
        )
    return switches


def _cost_shares(choices: Choices, place: int) -> tuple[float, float]:
    """Between which shares of it the mean cost of the strategy named at a place lies: other questions cost another."""
    own = choices.own_cost[:, [place]]
    if own.min() <= 0:
        return 1.0, 1.0
    interval = ratio_interval(own, np.ones_like(own))
    low, high = float(interval.low / own.mean()), float(interval.high / own.mean())
    return (low, high) if np.isfinite(high) else (1.0, 1.0)


def _leads(values: FloatArray, best: int, *, seed: int) -> list[Interval]:
    """How far one model is ahead of each at each cost; many costs and models are looked at, so with more confidence."""
    return [difference_interval(values[best] - other, seed=seed, confidence=SWITCH_CONFIDENCE) for other in values]


def _level(leads: Sequence[Interval], names: Sequence[str], best: int, place: int) -> tuple[str, ...]:
    """The models that are neither clearly better nor clearly worse than the best at a place."""
    return tuple(name for i, name in enumerate(names) if i != best and not leads[i].excludes_zero[place])


def _clearly_passed(leads: Sequence[Interval], means: FloatArray, start: int) -> tuple[int, int] | None:
    """The first place from `start` on where a model is clearly ahead of the best, and the best of those models."""
    is_ahead = np.array([lead.high < 0 for lead in leads])
    places = np.flatnonzero(is_ahead[:, start:].any(axis=0))
    if not places.size:
        return None
    place = start + int(places[0])
    return place, int(np.argmax(np.where(is_ahead[:, place], means[:, place], -1.0)))


def _cost_ratio(dense: Choices, sparse: Choices) -> Estimate:
    """Costs at the highest accuracy that dense reaches; the interval ends where sparse is clearly below or above."""
    highest = float(dense.accuracy.max())
    cost = cost_to_reach(highest, dense, on_grid=True)
    at = int(np.searchsorted(dense.cost, cost))
    paired = difference_interval(sparse.per_question - dense.per_question[:, [at]], seed=dense.seed)
    below, above = np.flatnonzero(paired.high < 0), np.flatnonzero(paired.low > 0)
    dearest = float(sparse.cost[above[0]]) if above.size else float("inf")
    cheapest = float(sparse.cost[below[-1]]) if below.size else float(sparse.cost[0])
    reached = cost_to_reach(highest, sparse, on_grid=True)
    low, high = _ratio_band(dense, sparse, at, int(np.searchsorted(sparse.cost, reached)))
    return Estimate(
        value=cost / reached, low=min(cost / dearest, cost / reached) * low, high=max(cost / cheapest, 0.0) * high
    )


def _ratio_band(dense: Choices, sparse: Choices, dense_at: int, sparse_at: int) -> tuple[float, float]:
    """What errors of predicted costs make of dense over sparse, both as wrong as they may be and in opposite ways."""
    if dense.band is None or sparse.band is None or sparse_at >= sparse.cost.size:
        return 1.0, 1.0
    low = dense.band.low[dense_at] / sparse.band.high[sparse_at]
    return float(low), float(dense.band.high[dense_at] / sparse.band.low[sparse_at])


def _percent(estimate: Estimate) -> Estimate:
    low, high = min(estimate.low, estimate.value), max(estimate.high, estimate.value)
    return Estimate(value=100 * estimate.value, low=100 * low, high=100 * high)


def _splits(num_questions: int, *, seed: int) -> Iterator[NDArray[np.bool_]]:
    """Which questions score and do not choose, fold by fold; none if there are fewer questions than folds."""
    rng = np.random.default_rng(seed)
    for _ in range(NUM_REPEATS if num_questions >= NUM_FOLDS else 0):
        fold = rng.permutation(num_questions) % NUM_FOLDS
        yield from (fold == i for i in range(NUM_FOLDS))
