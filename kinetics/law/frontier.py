"""Accuracy against cost: the best within each cost, the cost to reach an accuracy, where the best model changes.

Nothing here knows how a cost was counted or an answer graded, nor in which unit a cost is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from kinetics.law.intervals import FloatArray
from kinetics.specs.policies import PolicyKind

NO_MODEL: Final = "none"
"""Named best where every model's accuracy is 0: the published code names a model there."""
_ROUNDING: Final = 1e-12
"""A cost or an accuracy that is off by so much is the same."""


class HasModel(Protocol):
    """What a frontier can name as the best: a curve of a model, or a strategy."""

    @property
    def model(self) -> str:
        """The model's name."""


Best = TypeVar("Best", bound=HasModel)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Envelope:
    """Which of many (cost, accuracy) pairs is the best within each cost of a grid, the cheapest of equals.

    `leader`: its index, [num_costs]; where nothing `is_affordable` it says nothing. `order`: all pairs by cost;
    `last`: the place in that order of the dearest one within each cost.
    """

    order: NDArray[np.int64]
    last: NDArray[np.int64]
    leader: NDArray[np.int64]
    is_affordable: NDArray[np.bool_]

    def reached(self, accuracy: FloatArray) -> FloatArray:
        """The best accuracy within each cost: [..., num_costs] from [..., num_pairs]; 0 where nothing is affordable."""
        best = np.maximum.accumulate(accuracy[..., self.order], axis=-1)
        return np.where(self.is_affordable, best[..., self.last], 0.0)


def best_within(cost: FloatArray, accuracy: FloatArray, grid: FloatArray) -> Envelope:
    """The upper envelope of pairs; `cost` and `accuracy`: [num_pairs], of which there must be one."""
    order = np.lexsort((-accuracy, cost))
    last = np.searchsorted(cost[order], grid, side="right") - 1
    by_cost = accuracy[order]
    # A pair takes over only by strictly higher accuracy, so that ties stay with the cheaper one.
    leads = np.concatenate(([True], by_cost[1:] > np.maximum.accumulate(by_cost)[:-1]))
    leader = order[np.maximum.accumulate(np.where(leads, np.arange(order.size), 0))]
    return Envelope(order=order, last=last, leader=leader[last], is_affordable=last >= 0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """Accuracy (0..1) that a model reaches at or below each cost of an increasing grid."""

    model: str
    kind: PolicyKind
    cost: FloatArray
    accuracy: FloatArray

    def __post_init__(self) -> None:
        if self.cost.shape != self.accuracy.shape or not np.all(np.diff(self.cost) > 0):
            raise ValueError(
                f"curve of {self.model} must have one accuracy per cost and increasing costs, "
                f"got {self.cost.size} costs and {self.accuracy.size} accuracies"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frontier(Generic[Best]):
    """The best accuracy at or below each cost under one kind of attention, and what reaches it, if anything."""

    kind: PolicyKind
    cost: FloatArray
    accuracy: FloatArray
    best: tuple[Best | None, ...]

    @property
    def best_model(self) -> tuple[str, ...]:
        """The model that reaches the accuracy, `none` where nothing is solved."""
        return tuple(best.model if best else NO_MODEL for best in self.best)


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """From this cost on, another model is the best; `accuracy` is what it reaches there.

    Of samples, whose questions could have been others: `low` and `high` hold the cost at which the two models draw
    level with 95 % confidence, and `level_with` are models that are no clearly worse at `high`.
    """

    cost: float
    model: str
    accuracy: float
    low: float | None = None
    high: float | None = None
    level_with: tuple[str, ...] = ()


def build_frontier(curves: Sequence[Curve]) -> Frontier[Curve]:
    """The upper envelope of curves over one grid; of equally good models the first to get there is named.

    Give the smallest model first: of models that tie at one cost it is named, where published frontiers go by the
    alphabet. A model once passed stays available, so accuracy never falls.

    Raises: ValueError if there is no curve, or grids or kinds of attention differ.
    """
    if not curves:
        raise ValueError("a frontier needs at least one curve, got none")
    first = curves[0]
    for curve in curves:
        if curve.kind is not first.kind or not np.array_equal(curve.cost, first.cost):
            raise ValueError(f"curves must share grid and attention, got {curve.model} beside {first.model}; rebuild")
    grid = first.cost
    accuracy = np.concatenate([curve.accuracy for curve in curves])
    found = best_within(np.tile(grid, len(curves)), accuracy, grid)
    reached = found.reached(accuracy)
    leaders = [curves[i] for i in found.leader // grid.size]
    best = tuple(leader if height > 0 else None for leader, height in zip(leaders, reached, strict=True))
    return Frontier(kind=first.kind, cost=grid, accuracy=reached, best=best)


def smooth_as_published(accuracy: FloatArray) -> FloatArray:
    """Moving average over three grid points, ends repeated: it lets every point see the next, dearer one."""
    padded = np.pad(accuracy, 1, mode="edge")
    smoothed: FloatArray = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    return smoothed


def switch_points(frontier: Frontier[Best]) -> list[Switch]:
    """Costs at which the best model changes, the first model's entry included."""
    switches: list[Switch] = []
    previous = NO_MODEL
    for cost, model, accuracy in zip(frontier.cost, frontier.best_model, frontier.accuracy, strict=True):
        if model != previous:
            switches.append(Switch(cost=float(cost), model=model, accuracy=float(accuracy)))
        previous = model
    return switches


def accuracy_at(cost: float, curve: Curve | Frontier[Best]) -> float:
    """Accuracy at a cost, linear in log cost between grid points.

    Raises: ValueError outside the grid.
    """
    if not curve.cost[0] <= cost <= curve.cost[-1]:
        raise ValueError(f"cost must lie in {curve.cost[0]:.4g}..{curve.cost[-1]:.4g}, got {cost:.4g}")
    return float(np.interp(np.log(cost), np.log(curve.cost), curve.accuracy))


def cost_to_reach(accuracy: float, curve: Curve | Frontier[Best], *, on_grid: bool = False) -> float:
    """The lowest cost that reaches an accuracy, infinity if none does: linear in log cost, or a point of the grid."""
    above = np.flatnonzero(curve.accuracy >= accuracy - _ROUNDING)
    if above.size == 0:
        return float("inf")
    i = int(above[0])
    if i == 0 or on_grid:
        return float(curve.cost[i])
    low, high = curve.accuracy[i - 1], curve.accuracy[i]
    share = min(1.0, (accuracy - low) / (high - low))
    log_cost = np.log(curve.cost[i - 1]) * (1 - share) + np.log(curve.cost[i]) * share
    return float(np.exp(log_cost))


def cost_ratio(dense: Frontier[Best], sparse: Frontier[Best], *, on_grid: bool = False) -> float:
    """How many times less the sparse frontier pays for the highest accuracy that the dense one reaches; 0 if never."""
    highest = float(dense.accuracy.max())
    return cost_to_reach(highest, dense, on_grid=on_grid) / cost_to_reach(highest, sparse, on_grid=on_grid)


def largest_gain(better: Frontier[Best], base: Frontier[Best]) -> tuple[float, float]:
    """(cost, accuracy difference) where one frontier leads another by most, over their common grid."""
    difference = better.accuracy - base.accuracy
    i = int(np.argmax(difference))
    return float(better.cost[i]), float(difference[i])
