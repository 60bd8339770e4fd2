"""Envelopes, frontiers and switch points on curves small enough to check by eye."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetics.law.frontier import (
    NO_MODEL,
    Curve,
    accuracy_at,
    best_within,
    build_frontier,
    cost_ratio,
    cost_to_reach,
    largest_gain,
    smooth_as_published,
    switch_points,
)
from kinetics.specs.policies import PolicyKind

GRID = np.array([1.0, 10.0, 100.0, 1000.0])


def curve(model, accuracy, kind=PolicyKind.DENSE):
    return Curve(model=model, kind=kind, cost=GRID, accuracy=np.array(accuracy))


def test_the_frontier_is_the_best_accuracy_and_names_who_reaches_it():
    frontier = build_frontier([curve("small", [0.0, 0.4, 0.4, 0.4]), curve("large", [0.0, 0.1, 0.4, 0.9])])
    assert frontier.accuracy.tolist() == [0.0, 0.4, 0.4, 0.9]
    # Equal at 100: the cheaper model, given first, keeps its place.
    assert frontier.best_model == (NO_MODEL, "small", "small", "large")
    assert [(s.cost, s.model) for s in switch_points(frontier)] == [(10.0, "small"), (1000.0, "large")]


def test_a_model_that_only_draws_level_later_does_not_take_over():
    frontier = build_frontier([curve("small", [0.0, 0.1, 0.4, 0.4]), curve("large", [0.0, 0.4, 0.4, 0.5])])
    assert frontier.best_model == (NO_MODEL, "large", "large", "large")


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_envelope_is_the_best_that_can_be_paid_and_the_cheapest_of_those(pairs):
    cost, accuracy = (np.array(values, dtype=float) for values in zip(*pairs, strict=True))
    grid = np.arange(0.5, 22)
    found = best_within(cost, accuracy, grid)
    for i, most in enumerate(grid):
        able = [(a, -c) for c, a in pairs if c <= most]
        assert found.is_affordable[i] == bool(able)
        assert found.reached(accuracy)[i] == max(able, default=(0, 0))[0]
        if able:
            leader = found.leader[i]
            assert (accuracy[leader], -cost[leader]) == max(able)


def test_a_frontier_never_falls_and_keeps_the_model_that_reached_it():
    frontier = build_frontier([curve("small", [0.5, 0.3, 0.3, 0.3]), curve("large", [0.0, 0.0, 0.4, 0.6])])
    assert frontier.accuracy.tolist() == [0.5, 0.5, 0.5, 0.6]
    assert frontier.best_model == ("small", "small", "small", "large")


def test_costs_and_accuracies_interpolate_in_log_cost():
    line = curve("m", [0.0, 0.2, 0.4, 0.6])
    assert accuracy_at(10**1.5, line) == pytest.approx(0.3)
    assert cost_to_reach(0.3, line) == pytest.approx(10**1.5)
    assert cost_to_reach(0.3, line, on_grid=True) == 100.0
    assert cost_to_reach(0.7, line) == cost_to_reach(0.7, line, on_grid=True) == float("inf")
    assert cost_to_reach(0.0, line) == 1.0


def test_a_cost_ratio_compares_costs_at_the_highest_accuracy_of_dense():
    dense = build_frontier([curve("m", [0.0, 0.1, 0.5, 0.6])])
    sparse = build_frontier([curve("m", [0.0, 0.6, 0.7, 0.8], PolicyKind.TOPK)])
    never = build_frontier([curve("m", [0.0, 0.1, 0.2, 0.3], PolicyKind.TOPK)])
    assert cost_ratio(dense, sparse) == pytest.approx(100.0)
    assert cost_ratio(dense, never) == 0.0


def test_the_largest_gain_is_found_with_its_cost():
    dense = build_frontier([curve("m", [0.0, 0.1, 0.5, 0.8])])
    sparse = build_frontier([curve("m", [0.1, 0.6, 0.7, 0.8], PolicyKind.TOPK)])
    assert largest_gain(sparse, dense) == (10.0, pytest.approx(0.5))


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ([], "at least one curve"),
        (
            [curve("a", [0, 0, 0, 0]), curve("b", [0, 0, 0, 0], PolicyKind.TOPK)],
            "must share grid and attention, got b beside a",
        ),
    ],
)
def test_unlike_curves_have_no_frontier(curves, message):
    with pytest.raises(ValueError, match=message):
        build_frontier(curves)


def test_a_curve_needs_increasing_costs_and_an_accuracy_for_each():
    with pytest.raises(ValueError, match="one accuracy per cost and increasing costs"):
        Curve(model="m", kind=PolicyKind.DENSE, cost=GRID[::-1], accuracy=np.zeros(4))
    with pytest.raises(ValueError, match="one accuracy per cost"):
        Curve(model="m", kind=PolicyKind.DENSE, cost=GRID, accuracy=np.zeros(3))


def test_an_accuracy_outside_the_grid_is_an_error():
    with pytest.raises(ValueError, match=r"cost must lie in 1..1000, got 2000"):
        accuracy_at(2000.0, curve("m", [0, 0, 0, 0]))


def test_the_published_smoothing_looks_one_point_ahead():
    smoothed = smooth_as_published(np.array([0.0, 0.0, 0.3, 0.9]))
    assert smoothed.tolist() == pytest.approx([0.0, 0.1, 0.4, 0.7])
