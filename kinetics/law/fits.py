"""How the best allocation spends as the cap grows: tokens and KV budget as power laws of cost.

The paper fits tokens as a x^b and the KV budget as a x^b - P / (I D): the budget at which attention memory costs as
much as the weights is where sparsity stops paying.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from kinetics.cost.published import INTENSITY
from kinetics.law.allocation import allocate, chosen_spending
from kinetics.law.intervals import FloatArray
from kinetics.law.strategies import StrategyTable
from kinetics.specs.models import ModelSpec

MIN_FIT_POINTS: Final = 5


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendingFit:
    """Growth of one model's best allocation, over the costs at which every question affords something."""

    model: str
    task: str
    num_costs: int
    tokens: PowerLaw
    kv_budget: PowerLaw


def balance_budget(model: ModelSpec) -> float:
    """Keys whose eFLOPs equal those of the weights: P / (I x D)."""
    return model.matmul_parameters_per_token / (INTENSITY * model.kv_bytes_per_token(1))


def fit_spending(
    table: StrategyTable, cost_name: str, grid: FloatArray, *, model: str, task: str, budget_offset: float
) -> SpendingFit | None:
    """Both power laws; None if too few costs are afforded by every question, or a dense option was chosen."""
    tokens, budgets = chosen_spending(table, allocate(table, cost_name, grid))
    is_known = np.isfinite(tokens) & np.isfinite(budgets)
    if is_known.sum() < MIN_FIT_POINTS:
        return None
    cost = grid[is_known].tolist()
    return SpendingFit(
        model=model,
        task=task,
        num_costs=len(cost),
        tokens=fit_power_law(cost, tokens[is_known].tolist()),
        kv_budget=fit_power_law(cost, budgets[is_known].tolist(), offset=budget_offset),
    )
