"""Accuracy against cost: curves, the frontier over models, where the best model changes, gains, and power-law fits.

Everything works on curves over one cost grid, wherever they come from. Costs are in 1e12 eFLOP; nothing here knows
how a cost was counted or an answer graded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

NO_MODEL: Final = "none"
"""Named best where every model's accuracy is 0: the published code names a model there."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """Accuracy (0..1) that a model reaches at or below each cost of an increasing grid."""

    model: str
    attention: str
    cost: FloatArray
    accuracy: FloatArray

    def __post_init__(self) -> None:
        if self.cost.shape != self.accuracy.shape or not np.all(np.diff(self.cost) > 0):
            raise ValueError(
                f"curve of {self.model} must have one accuracy per cost and increasing costs, "
                f"got {self.cost.size} costs and {self.accuracy.size} accuracies"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frontier:
    """The best accuracy at or below each cost, and the model that reaches it there."""

    attention: str
    cost: FloatArray
    accuracy: FloatArray
    best_model: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """From this cost on, another model is the best."""

    cost: float
    model: str


def build_frontier(curves: Sequence[Curve]) -> Frontier:
    """The upper envelope of curves over one grid; of equally good models the first in the sequence is named.

    Give the cheapest model first: published frontiers break ties by the alphabet instead. A model once passed stays
    available, so accuracy never falls.

    Raises: ValueError if there is no curve, or grids or attentions differ.
    """
    if not curves:
        raise ValueError("a frontier needs at least one curve, got none")
    first = curves[0]
    for curve in curves:
        if curve.attention != first.attention or not np.array_equal(curve.cost, first.cost):
            raise ValueError(f"curves must share grid and attention, got {curve.model} beside {first.model}; rebuild")
    accuracy = np.stack([curve.accuracy for curve in curves])
    best = np.argmax(accuracy, axis=0)
    envelope = accuracy.max(axis=0)
    reached = np.maximum.accumulate(envelope)
    names: list[str] = []
    for i, index in enumerate(best):
        is_new = envelope[i] >= reached[i] and envelope[i] > 0
        names.append(curves[index].model if is_new else (names[-1] if names else NO_MODEL))
    return Frontier(attention=first.attention, cost=first.cost, accuracy=reached, best_model=tuple(names))


def smooth_as_published(accuracy: FloatArray) -> FloatArray:
    """Moving average over three grid points, ends repeated: it lets every point see the next, dearer one."""
    padded = np.pad(accuracy, 1, mode="edge")
    smoothed: FloatArray = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
    return smoothed


def switch_points(frontier: Frontier) -> list[Switch]:
    """Costs at which the best model changes, the first model's entry included."""
    switches: list[Switch] = []
    previous = NO_MODEL
    for cost, model in zip(frontier.cost, frontier.best_model, strict=True):
        if model != previous:
            switches.append(Switch(cost=float(cost), model=model))
        previous = model
    return switches


def accuracy_at(cost: float, curve: Curve | Frontier) -> float:
    """Accuracy at a cost, linear in log cost between grid points.

    Raises: ValueError outside the grid.
    """
    if not curve.cost[0] <= cost <= curve.cost[-1]:
        raise ValueError(f"cost must lie in {curve.cost[0]:.4g}..{curve.cost[-1]:.4g}, got {cost:.4g}")
    return float(np.interp(np.log(cost), np.log(curve.cost), curve.accuracy))


def cost_to_reach(accuracy: float, curve: Curve | Frontier) -> float:
    """The lowest cost that reaches an accuracy, linear in log cost between grid points; infinity if none does."""
    above = np.flatnonzero(curve.accuracy >= accuracy)
    if above.size == 0:
        return float("inf")
    i = int(above[0])
    if i == 0:
        return float(curve.cost[0])
    low, high = curve.accuracy[i - 1], curve.accuracy[i]
    share = (accuracy - low) / (high - low)
    log_cost = np.log(curve.cost[i - 1]) * (1 - share) + np.log(curve.cost[i]) * share
    return float(np.exp(log_cost))


def grid_cost_to_reach(accuracy: float, curve: Curve | Frontier) -> float:
    """The lowest grid cost whose accuracy is at least the given one; infinity if none is."""
    above = np.flatnonzero(curve.accuracy >= accuracy)
    return float(curve.cost[above[0]]) if above.size else float("inf")


def largest_gain(better: Frontier, base: Frontier) -> tuple[float, float]:
    """(cost, accuracy difference) where one frontier leads another by most, over their common grid."""
    difference = better.accuracy - base.accuracy
    i = int(np.argmax(difference))
    return float(better.cost[i]), float(difference[i])


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLaw:
    """y = scale * x ** exponent + offset."""

    scale: float
    exponent: float
    offset: float = 0.0

    def __call__(self, x: float) -> float:
        """The law's value at x."""
        return float(self.scale * x**self.exponent + self.offset)

    def growth_per_doubling(self, x: float) -> float:
        """Factor by which y grows from x to 2x; it equals 2 ** exponent only if the offset is 0."""
        return self(2 * x) / self(x)


def fit_power_law(x: Sequence[float], y: Sequence[float], *, offset: float = 0.0) -> PowerLaw:
    """Least squares of log(y - offset) against log x, with a given offset.

    Raises: ValueError with fewer than two distinct x, or y at or below the offset.
    """
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64) - offset
    if len(set(xs.tolist())) < 2:
        raise ValueError(f"a power law needs at least two distinct costs, got {len(set(xs.tolist()))}")
    if xs.min() <= 0 or ys.min() <= 0:
        raise ValueError(f"a power law needs x above 0 and y above its offset {offset:g}, got y - offset={ys.min():g}")
    exponent, log_scale = np.polyfit(np.log(xs), np.log(ys), 1)
    return PowerLaw(scale=float(np.exp(log_scale)), exponent=float(exponent), offset=offset)
