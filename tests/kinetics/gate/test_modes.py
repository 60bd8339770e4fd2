"""Two groups of launches are named, one group hardly ever."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.gate.modes import two_modes


def flagged(make, count, *, num_sets=400):
    rng = random.Random(7)
    return sum(two_modes([make(rng) for _ in range(count)]) is not None for _ in range(num_sets)) / num_sets


@pytest.mark.parametrize("count", [12, 24, 60])
def test_one_normal_group_is_hardly_ever_called_two(count):
    assert flagged(lambda rng: rng.gauss(0.0, 0.02), count) <= 0.005
    assert flagged(lambda rng: rng.uniform(-0.02, 0.02), count) <= 0.08


@pytest.mark.parametrize(("count", "share"), [(24, 0.8), (60, 0.99)])
def test_groups_six_spreads_apart_are_found(count, share):
    assert flagged(lambda rng: rng.gauss(0.06 * (rng.random() < 0.4), 0.01), count) >= share


def test_the_two_centres_and_the_share_are_told():
    found = two_modes([0.0, 0.001, -0.001] * 4 + [0.05, 0.051, 0.049] * 2)
    assert found == pytest.approx((0.0, 0.05, 1 / 3))


def test_a_few_stray_launches_are_no_second_mode():
    assert two_modes([0.001 * one for one in range(20)] + [0.5]) is None


@given(st.lists(st.floats(-0.1, 0.1), max_size=30))
def test_the_mirror_has_the_mirrored_modes(values):
    found, mirrored = two_modes(values), two_modes([-value for value in values])
    assert (found is None) == (mirrored is None)
    if found is not None:
        assert found.low < found.high
        assert 0.2 <= found.share_of_high <= 0.8 + 1e-9


@pytest.mark.parametrize("values", [[], [0.1] * 11, [0.1] * 30])
def test_too_few_or_equal_values_have_no_modes(values):
    assert two_modes(values) is None
