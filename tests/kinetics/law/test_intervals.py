"""Intervals hold what they say, on questions small enough to reason about; real ones are simulated by a script."""

import numpy as np
import pytest

from kinetics.law.intervals import difference_interval, mean_interval, ratio_interval


def test_all_uncertainty_is_between_questions():
    # Two kinds of questions, each unanimous.
    interval = mean_interval(np.array([0.0, 1.0] * 15))
    assert interval.low == pytest.approx(0.5 - 1.96 * 0.5 / 32**0.5, abs=0.03)
    assert interval.high == pytest.approx(0.5 + 1.96 * 0.5 / 32**0.5, abs=0.03)


def test_an_interval_of_95_percent_leaves_a_fortieth_on_each_side():
    interval = mean_interval(np.repeat([0.0, 1.0], 2000))
    half_width = 1.96 * 0.5 / np.sqrt(4002)
    assert (interval.low, interval.high) == pytest.approx((0.5 - half_width, 0.5 + half_width), abs=0.0015)


def test_thirty_questions_solved_do_not_make_a_certainty():
    interval = mean_interval(np.ones((30, 2)))
    assert interval.low == pytest.approx([0.906, 0.906], abs=0.02)
    assert interval.high == pytest.approx([1.0, 1.0])


def test_equal_columns_get_equal_intervals_wherever_they_stand():
    rng = np.random.default_rng(0)
    one, two = rng.random((2, 20))
    interval = mean_interval(np.stack([one, one, two, one], axis=1))
    assert interval.low[0] == interval.low[1] == interval.low[3] != interval.low[2]
    alone = mean_interval(two)
    assert (float(interval.low[2]), float(interval.high[2])) == pytest.approx((float(alone.low), float(alone.high)))


def test_a_difference_seen_on_no_question_may_still_be_there():
    interval = difference_interval(np.zeros(30))
    assert interval.low < -0.01
    assert interval.high > 0.01
    assert not interval.excludes_zero


def test_a_difference_on_every_question_is_clear():
    assert difference_interval(np.full(30, 0.2)).excludes_zero
    assert difference_interval(np.full(30, -0.2)).high < 0


@pytest.mark.parametrize(("num_questions", "least"), [(30, 0.92), (60, 0.92)])
def test_a_mean_near_the_ceiling_is_covered(num_questions, least):
    rng = np.random.default_rng(num_questions)
    hits = [covers(mean_interval(rng.random(num_questions) < 0.96), 0.96) for _ in range(400)]
    assert np.mean(hits) >= least


def covers(interval, value):
    return interval.low <= value <= interval.high


def test_a_ratio_of_skewed_means_is_covered():
    rng = np.random.default_rng(1)
    hits = []
    for _ in range(400):
        shared = rng.lognormal(0, 1, 30)
        ratio = ratio_interval(
            (1.2 * shared * rng.lognormal(0, 0.3, 30))[:, None], (shared * rng.lognormal(0, 0.3, 30))[:, None]
        )
        hits.append(covers(ratio, 1.2))
    assert 0.92 <= np.mean(hits) <= 0.99


def test_a_product_of_ratios_is_the_ratio_of_products():
    rng = np.random.default_rng(2)
    a, b = rng.random((2, 30)) + 1
    same = ratio_interval(np.stack([a, b], axis=1), np.stack([b, a], axis=1))
    assert (same.low, same.high) == (pytest.approx(1.0), pytest.approx(1.0))


def test_too_few_questions_say_nothing_about_a_ratio():
    for numbers in (np.ones((2, 1)), np.zeros((5, 1))):
        interval = ratio_interval(numbers, np.ones_like(numbers))
        assert (interval.low, interval.high) == (0.0, np.inf)
