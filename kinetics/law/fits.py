"""How the best allocation spends as the cap grows: tokens and KV budget as power laws of cost.

The paper fits tokens as a x^b and the KV budget as a x^b - P / (I D): the budget at which attention memory costs as
much as the weights is where sparsity stops paying.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kinetics.cost.published import INTENSITY
from kinetics.law.allocation import OptionTable, allocate, chosen_spending
from kinetics.law.frontier import PowerLaw, fit_power_law
from kinetics.specs.models import ModelSpec

FloatArray = NDArray[np.float64]

MIN_FIT_POINTS: Final = 5


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
    table: OptionTable, grid: FloatArray, *, model: str, task: str, budget_offset: float
) -> SpendingFit | None:
    """Both power laws; None if too few costs are afforded by every question, or a dense option was chosen."""
    tokens, budgets = chosen_spending(table, allocate(table, grid))
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
