"""Frontiers, switch points and fits on curves small enough to check by eye."""

import numpy as np
import pytest

from kinetics.law.frontier import (
    NO_MODEL,
    Curve,
    PowerLaw,
    accuracy_at,
    build_frontier,
    cost_to_reach,
    fit_power_law,
    grid_cost_to_reach,
    largest_gain,
    smooth_as_published,
    switch_points,
)

GRID = np.array([1.0, 10.0, 100.0, 1000.0])


def curve(model, accuracy, attention="dense"):
    return Curve(model=model, attention=attention, cost=GRID, accuracy=np.array(accuracy))


def test_the_frontier_is_the_best_accuracy_and_names_who_reaches_it():
    frontier = build_frontier([curve("small", [0.0, 0.4, 0.4, 0.4]), curve("large", [0.0, 0.1, 0.4, 0.9])])
    assert frontier.accuracy.tolist() == [0.0, 0.4, 0.4, 0.9]
    # Equal at 100: the cheaper model, given first, keeps its place.
    assert frontier.best_model == (NO_MODEL, "small", "small", "large")
    assert [(s.cost, s.model) for s in switch_points(frontier)] == [(10.0, "small"), (1000.0, "large")]


def test_a_frontier_never_falls_and_keeps_the_model_that_reached_it():
    frontier = build_frontier([curve("small", [0.5, 0.3, 0.3, 0.3]), curve("large", [0.0, 0.0, 0.4, 0.6])])
    assert frontier.accuracy.tolist() == [0.5, 0.5, 0.5, 0.6]
    assert frontier.best_model == ("small", "small", "small", "large")


def test_costs_and_accuracies_interpolate_in_log_cost():
    line = curve("m", [0.0, 0.2, 0.4, 0.6])
    assert accuracy_at(10**1.5, line) == pytest.approx(0.3)
    assert cost_to_reach(0.3, line) == pytest.approx(10**1.5)
    assert grid_cost_to_reach(0.3, line) == 100.0
    assert cost_to_reach(0.7, line) == grid_cost_to_reach(0.7, line) == float("inf")
    assert cost_to_reach(0.0, line) == 1.0


def test_the_largest_gain_is_found_with_its_cost():
    dense = build_frontier([curve("m", [0.0, 0.1, 0.5, 0.8])])
    sparse = build_frontier([curve("m", [0.1, 0.6, 0.7, 0.8], "topk")])
    assert largest_gain(sparse, dense) == (10.0, pytest.approx(0.5))


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ([], "at least one curve"),
        ([curve("a", [0, 0, 0, 0]), curve("b", [0, 0, 0, 0], "topk")], "must share grid and attention, got b beside a"),
    ],
)
def test_unlike_curves_have_no_frontier(curves, message):
    with pytest.raises(ValueError, match=message):
        build_frontier(curves)


def test_a_curve_needs_increasing_costs_and_an_accuracy_for_each():
    with pytest.raises(ValueError, match="one accuracy per cost and increasing costs"):
        Curve(model="m", attention="dense", cost=GRID[::-1], accuracy=np.zeros(4))
    with pytest.raises(ValueError, match="one accuracy per cost"):
        Curve(model="m", attention="dense", cost=GRID, accuracy=np.zeros(3))


def test_an_accuracy_outside_the_grid_is_an_error():
    with pytest.raises(ValueError, match=r"cost must lie in 1..1000, got 2000"):
        accuracy_at(2000.0, curve("m", [0, 0, 0, 0]))


def test_the_published_smoothing_looks_one_point_ahead():
    smoothed = smooth_as_published(np.array([0.0, 0.0, 0.3, 0.9]))
    assert smoothed.tolist() == pytest.approx([0.0, 0.1, 0.4, 0.7])


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
