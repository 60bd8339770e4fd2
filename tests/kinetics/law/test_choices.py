"""One choice for all questions: the best that can be paid, scored by others, and what it is clearly better than."""

from dataclasses import replace

import numpy as np
import pytest

from kinetics.law.choices import choices_by_kind, choose, cost_grid, lead_over_dense, switch_points
from kinetics.law.strategies import Strategy, StrategyTable
from kinetics.specs.policies import Dense, PolicyKind, TopK

COST = "c"


def table_of(*columns):
    """Columns of (model, policy, cost, accuracy per question)."""
    accuracy = np.stack([np.asarray(values, dtype=float) for *_, values in columns], axis=1)
    return StrategyTable(
        strategies=tuple(Strategy(model=m, policy=p, trials=1, max_generated=None) for m, p, _, _ in columns),
        accuracy=accuracy, tokens=np.ones_like(accuracy),
        cost={COST: np.tile([float(cost) for _, _, cost, _ in columns], (len(accuracy), 1))},
    )  # fmt: skip


def chosen(table):
    return choices_by_kind(table, COST, cost_grid(table.cost[COST]))


def draws(rng, p, *, num_answers=8):
    return rng.binomial(num_answers, p) / num_answers


def test_a_grid_goes_through_the_published_costs_and_holds_all_data():
    grid = cost_grid(np.array([[30.0, 9e5], [25.0, np.nan]]))
    published = np.logspace(np.log10(20), np.log10(4e4), 100)
    assert grid[0] <= 25 <= grid[1]
    assert grid[-2] <= 9e5 <= grid[-1]
    inside = published[(published > 25) & (published < 4e4)]
    assert np.abs(grid[:, None] / inside - 1).min(axis=0).max() < 1e-12


def test_a_choice_is_the_best_that_can_be_paid_for_all_questions_and_of_equals_the_cheapest():
    table = table_of(
        ("small", Dense(), 1, [0, 1, 0, 0, 0]), ("worse", Dense(), 2, [0] * 5), ("equal", Dense(), 3, [1, 0, 0, 0, 0]),
        ("large", Dense(), 10, [1, 1, 1, 0, 0]),
    )  # fmt: skip
    choices = choose(table, COST, np.array([0.5, 1, 2.5, 5, 10]))
    assert choices.best_model == ("none", "small", "small", "small", "large")
    assert choices.chosen_accuracy.tolist() == [0, 0.2, 0.2, 0.2, 0.6]


def test_many_strategies_of_equal_worth_gain_nothing():
    # Six policies alike, eight answers to each question: the best of six looks better than the one, and is not.
    rng = np.random.default_rng(0)
    apparent, gains, holds_zero = [], [], []
    for _ in range(150):
        p = rng.random(30)
        columns = [("m", Dense(), 1, draws(rng, p))]
        columns += [("m", TopK(kv_budget=2**i), 1, draws(rng, p)) for i in range(6)]
        dense, sparse = chosen(table_of(*columns))
        apparent.append(sparse.chosen_accuracy[-1] - dense.chosen_accuracy[-1])
        lead = lead_over_dense(dense, sparse)
        gains.append(lead.points.value)
        holds_zero.append(lead.points.low <= 0 <= lead.points.high)
    assert np.mean(apparent) > 0.02
    assert abs(np.mean(gains)) < 1.0
    assert np.mean(holds_zero) >= 0.9


def test_a_real_gain_is_found_with_an_interval_above_zero_and_a_ratio_of_costs():
    rng = np.random.default_rng(1)
    p = rng.random(60)
    columns = [("m", Dense(), 10.0 * 2**i, draws(rng, p * share)) for i, share in enumerate((0.3, 0.6, 0.9))]
    columns += [("m", TopK(kv_budget=8), 1.0 * 2**i, draws(rng, p * share)) for i, share in enumerate((0.3, 0.6, 0.9))]
    dense, sparse = chosen(table_of(*columns))
    lead = lead_over_dense(dense, sparse)
    assert 25 < lead.points.low < lead.points.value < lead.points.high < 60
    assert lead.cost_ratio.low <= 10.0 <= lead.cost_ratio.high
    assert lead.cost_ratio.value == pytest.approx(10.0, rel=0.1)


def test_sparse_choices_that_never_get_there_have_a_ratio_of_zero():
    dense, sparse = chosen(table_of(("m", Dense(), 5, [1] * 9), ("m", TopK(kv_budget=8), 1, [0] * 9)))
    ratio = lead_over_dense(dense, sparse).cost_ratio
    assert ratio.value == ratio.low == 0.0


def models_of(table, kind=PolicyKind.DENSE):
    grid = cost_grid(table.cost[COST])
    names = dict.fromkeys(strategy.model for strategy in table.strategies)
    return [(name, choose(table.of_model(name, kind), COST, grid)) for name in names]


def test_only_clear_switches_are_named_and_the_rest_is_level():
    rng = np.random.default_rng(2)
    p = rng.random(40)
    table = table_of(
        ("small", Dense(), 1, draws(rng, 0.3 * p)), ("twin", Dense(), 2, draws(rng, 0.3 * p)),
        ("large", Dense(), 50, draws(rng, 0.95 * p)),
    )  # fmt: skip
    first, second = switch_points(models_of(table))
    assert (first.model, first.low, first.high) == ("small", None, None)
    assert (second.model, second.level_with) == ("large", ())
    assert second.low <= 50 <= second.high * (1 + 1e-9)
    assert second.low <= second.cost <= second.high


def test_where_one_model_is_first_and_another_clearly_better_later_the_interval_holds_where_they_draw_level():
    rng = np.random.default_rng(3)
    hits, clear = 0, 0
    for _ in range(60):
        p = rng.random(60)
        # The two draw level at a cost of 2**4.
        columns = [("a", Dense(), 2.0**i, draws(rng, p * (0.3 + 0.05 * i))) for i in range(9)]
        columns += [("b", Dense(), 2.0**i * 1.001, draws(rng, p * (0.1 + 0.1 * i))) for i in range(9)]
        switches = switch_points(models_of(table_of(*columns)))
        last = switches[-1]
        clear += last.model == "b"
        hits += last.model == "b" and last.low <= 16 * 1.08 and last.high >= 16 / 1.08
    assert clear >= 40
    assert hits / clear >= 0.9


def test_nothing_solved_is_no_switch():
    assert switch_points(models_of(table_of(("m", Dense(), 1, [0] * 6)))) == []


def test_errors_of_predicted_costs_widen_the_band_and_the_cost_ratio():
    rng = np.random.default_rng(1)
    right = rng.random(30) < 0.6
    table = table_of(
        ("m", Dense(), 10, right),
        ("m", Dense(), 1, right & (rng.random(30) < 0.5)),
        ("m", TopK(kv_budget=8), 2, np.ones(30)),
    )
    edges = {"low": table.cost[COST] * 0.8, "high": table.cost[COST] * 1.25}
    table = replace(table, cost={**table.cost, **edges})
    grid = cost_grid(table.cost[COST])
    plain, banded = (choices_by_kind(table, COST, grid, edges=names) for names in ((), ("low", "high")))
    for one, other in zip(plain, banded, strict=True):
        assert other.accuracy.tolist() == one.accuracy.tolist()
        assert np.all(other.interval.low <= one.interval.low)
        assert np.all(other.interval.high >= one.interval.high)
    dense = banded[0]
    at_nine = int(np.searchsorted(grid, 9))
    assert dense.interval.high[at_nine] > plain[0].interval.high[at_nine], (
        "at 0.8 of its cost the dear one is affordable"
    )
    assert np.allclose(dense.band.low[at_nine:], 0.8)
    ratios = [lead_over_dense(*choices).cost_ratio for choices in (plain, banded)]
    assert ratios[0].low > 0
    assert ratios[1].low == pytest.approx(ratios[0].low * 0.8 / 1.25)
    assert ratios[1].high == pytest.approx(ratios[0].high * 1.25 / 0.8)
