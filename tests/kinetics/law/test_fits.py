"""Growth of the best allocation's tokens and KV budget."""

import numpy as np
import pytest

from kinetics.law.allocation import Option, OptionTable
from kinetics.law.fits import balance_budget, fit_spending
from kinetics.specs.models import find_model
from kinetics.specs.policies import Dense, TopK

GRID = np.logspace(1, 3, 30)


def made_table(policies):
    """One question; option i costs cost[i], scores more than the one before, and spends 3 x cost^0.8 tokens."""
    cost = np.logspace(0.5, 3, len(policies))
    options = tuple(Option(policy=policy, trials=1, max_generated=None) for policy in policies)
    accuracy = np.linspace(0.1, 0.9, len(policies))
    return OptionTable(options=options, cost=cost[None], accuracy=accuracy[None], tokens=3 * cost[None] ** 0.8)


def test_the_growth_of_a_made_allocation_is_recovered():
    cost = np.logspace(0.5, 3, 400)
    table = made_table([TopK(kv_budget=round(1000 * c**0.25 - 500)) for c in cost])
    fit = fit_spending(table, GRID, model="m", task="t", budget_offset=-500.0)
    assert fit.tokens.exponent == pytest.approx(0.8, abs=0.01)
    assert fit.tokens.scale == pytest.approx(3, rel=0.03)
    assert fit.kv_budget.exponent == pytest.approx(0.25, abs=0.01)
    assert fit.num_costs == 30


def test_too_few_costs_or_a_dense_choice_fit_nothing():
    assert fit_spending(made_table([Dense()] * 9), GRID, model="m", task="t", budget_offset=0.0) is None
    dear = made_table([TopK(kv_budget=8)])
    dear.cost[:] = 800.0
    assert fit_spending(dear, GRID, model="m", task="t", budget_offset=0.0) is None


def test_the_balance_budget_is_the_offset_that_the_paper_rounds():
    assert balance_budget(find_model("Qwen3-8B")) == pytest.approx(182.5, abs=0.1)
