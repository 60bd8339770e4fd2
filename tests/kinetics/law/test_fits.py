"""Power laws, and the growth of the best allocation's tokens and KV budget."""

import numpy as np
import pytest

from kinetics.law.fits import PowerLaw, balance_budget, fit_power_law, fit_spending
from kinetics.law.strategies import Strategy, StrategyTable
from kinetics.specs.models import find_model
from kinetics.specs.policies import Dense, TopK

GRID = np.logspace(1, 3, 30)


def made_table(policies):
    """One question; strategy i costs cost[i], scores more than the one before, and spends 3 x cost^0.8 tokens."""
    cost = np.logspace(0.5, 3, len(policies))
    strategies = tuple(Strategy(model="m", policy=policy, trials=1, max_generated=None) for policy in policies)
    accuracy = np.linspace(0.1, 0.9, len(policies))
    return StrategyTable(
        strategies=strategies, cost={"eflop": cost[None]}, accuracy=accuracy[None], tokens=3 * cost[None] ** 0.8
    )


def test_the_growth_of_a_made_allocation_is_recovered():
    cost = np.logspace(0.5, 3, 400)
    table = made_table([TopK(kv_budget=round(1000 * c**0.25 - 500)) for c in cost])
    fit = fit_spending(table, "eflop", GRID, model="m", task="t", budget_offset=-500.0)
    assert fit.tokens.exponent == pytest.approx(0.8, abs=0.01)
    assert fit.tokens.scale == pytest.approx(3, rel=0.03)
    assert fit.kv_budget.exponent == pytest.approx(0.25, abs=0.01)
    assert fit.num_costs == 30


def test_too_few_costs_or_a_dense_choice_fit_nothing():
    assert fit_spending(made_table([Dense()] * 9), "eflop", GRID, model="m", task="t", budget_offset=0.0) is None
    dear = made_table([TopK(kv_budget=8)])
    dear.cost["eflop"][:] = 800.0
    assert fit_spending(dear, "eflop", GRID, model="m", task="t", budget_offset=0.0) is None


def test_the_balance_budget_is_the_offset_that_the_paper_rounds():
    assert balance_budget(find_model("Qwen3-8B")) == pytest.approx(182.5, abs=0.1)


def test_a_power_law_is_recovered_with_its_offset():
    law = PowerLaw(scale=81.77, exponent=0.25, offset=-212.0)
    costs = np.logspace(2.5, 5, 20)
    fitted = fit_power_law(costs.tolist(), [law(cost) for cost in costs], offset=-212.0)
    assert fitted.scale == pytest.approx(81.77, rel=1e-9)
    assert fitted.exponent == pytest.approx(0.25, rel=1e-9)


def test_an_offset_changes_the_growth_per_doubling():
    assert PowerLaw(scale=81.77, exponent=0.25).growth_per_doubling(1e3) == pytest.approx(2**0.25)
    assert PowerLaw(scale=81.77, exponent=0.25, offset=-212.0).growth_per_doubling(1e3) == pytest.approx(1.35, abs=0.01)
    assert PowerLaw(scale=81.77, exponent=0.25, offset=-212.0).growth_per_doubling(1e4) == pytest.approx(1.26, abs=0.01)


@pytest.mark.parametrize(("x", "y"), [([1.0, 1.0], [1.0, 2.0]), ([1.0, 2.0], [0.0, 1.0]), ([0.0, 2.0], [1.0, 1.0])])
def test_a_fit_without_enough_to_go_on_is_an_error(x, y):
    with pytest.raises(ValueError, match="a power law needs"):
        fit_power_law(x, y)
