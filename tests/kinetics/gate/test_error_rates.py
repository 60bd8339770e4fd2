"""What the gate says of its own errors, against simulation and against known intervals."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.gate.decision import Verdict, decide
from kinetics.gate.error_rates import (
    clopper_pearson,
    confirmed_rate,
    cross_fitted,
    first_look_rate,
    measured_margin,
    smallest_detectable,
)


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(0, 20, 0.0, 0.1684), (1, 20, 0.0013, 0.2487), (10, 20, 0.2720, 0.7280), (20, 20, 0.8316, 1.0)],
)
def test_intervals_equal_published_clopper_pearson_tables(hits, trials, low, high):
    rate = clopper_pearson(hits / trials, trials)
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=5e-5)


@given(st.just(0.0) | st.floats(1e-6, 1), st.integers(1, 500))
def test_an_interval_encloses_its_rate(value, trials):
    rate = clopper_pearson(value, trials)
    assert 0 <= rate.low <= value + 1e-12
    assert value - 1e-12 <= rate.high <= 1


def test_rates_out_of_range_are_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        clopper_pearson(1.5, 10)


@pytest.mark.parametrize(("sd", "num_launches"), [(0.01, 5), (0.025, 5), (0.025, 10)])
def test_the_smallest_detectable_slow_down_is_found_with_the_promised_power(sd, num_launches):
    shift = math.log1p(smallest_detectable(sd, num_launches=num_launches, margin=0.01))
    rng = random.Random(4)

    def launches():
        return [rng.gauss(shift, sd) for _ in range(num_launches)]

    hits = sum(decide(launches(), launches(), margin=0.01).verdict is Verdict.SLOW for _ in range(3000))
    assert hits / 3000 == pytest.approx(0.8, abs=0.03)


def test_more_launches_and_less_spread_show_smaller_slow_downs():
    at = {(sd, k): smallest_detectable(sd, num_launches=k, margin=0.01) for sd in (0.005, 0.02) for k in (5, 10)}
    assert at[0.005, 10] < at[0.005, 5] < at[0.02, 5]
    assert smallest_detectable(0.0, num_launches=5, margin=0.01) == pytest.approx(0.01)


def test_rates_over_draws_tell_identical_from_slower_code():
    rng = random.Random(5)
    same, slower = ([rng.gauss(shift, 0.01) for _ in range(40)] for shift in (0.0, 0.08))
    arguments = {"num_launches": 5, "margin": 0.01, "seed": 1}
    assert confirmed_rate(same, **arguments) <= first_look_rate(same, **arguments) <= 0.01
    assert confirmed_rate(slower, **arguments) >= 0.95


def test_the_margin_grows_with_what_identical_code_shows():
    rng = random.Random(6)
    quiet = [rng.gauss(0.0, 0.002) for _ in range(20)]
    biased = [rng.gauss(0.03, 0.002) for _ in range(20)]
    assert measured_margin(quiet, num_launches=5, seed=1) == 0.01
    assert 0.03 <= measured_margin(biased, num_launches=5, seed=1) <= 0.04


def test_the_measured_margin_holds_for_new_launches():
    """On average 1 % of new means stray further; a margin from too narrow draws would let 3 % through."""
    rng, sd, strays = random.Random(7), 0.02, []
    for _ in range(150):
        margin = measured_margin([rng.gauss(0.0, sd) for _ in range(20)], num_launches=5, seed=1)
        new = [abs(statistics.fmean(rng.gauss(0.0, sd) for _ in range(5))) for _ in range(200)]
        strays.append(sum(mean > math.log1p(margin) for mean in new) / len(new))
    assert statistics.fmean(strays) < 0.025


def test_a_margin_is_not_judged_by_the_launches_it_was_made_from():
    """Every other launch strays: the margin of all of them covers that, the margin of the quiet half does not."""
    rng = random.Random(8)
    values = [rng.gauss(0.06 * (i % 2), 0.004) for i in range(40)]
    arguments = {"num_launches": 5, "seed": 1}
    assert confirmed_rate(values, margin=measured_margin(values, **arguments), **arguments) == 0.0
    assert cross_fitted(confirmed_rate, values, **arguments) > 0.4


def test_too_few_launches_for_a_rate_are_refused():
    with pytest.raises(ValueError, match="at least 5 launches"):
        confirmed_rate([0.0] * 4, num_launches=5, margin=0.01, seed=1)
