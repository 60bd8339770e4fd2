"""Drift over stored runs: what the line through them says, and that it says nothing of runs of unchanged code."""

import math
import random

import pytest

from kinetics.gate.trend import Drift, Point, exit_code, trend_of


def points(*, count=12, per_run=0.0, sd=0.005, canary_per_run=0.0, seed=1, days=7.0):
    rng = random.Random(seed)
    return [
        Point(day=days * run, log_time=per_run * run + rng.gauss(0.0, sd), log_canary=canary_per_run * run)
        for run in range(count)
    ]


def test_a_drift_is_found_with_its_size_in_either_direction_and_in_any_order():
    slower = trend_of(points(per_run=0.01))
    assert slower.drift is Drift.SLOWER
    assert slower.change == pytest.approx(math.expm1(0.11), abs=0.01)
    assert slower.lower < slower.change < slower.upper
    assert (slower.num_runs, slower.span_days) == (12, 77.0)
    assert trend_of(points(per_run=0.01)[::-1]) == slower
    assert trend_of(points(per_run=-0.01)).drift is Drift.FASTER


def test_steady_is_shown_and_a_wide_spread_is_unclear():
    assert trend_of(points()).drift is Drift.STEADY
    assert trend_of(points(sd=0.1)).drift is Drift.UNCLEAR
    assert trend_of(points(per_run=0.0004, sd=0.0001)).drift is Drift.STEADY  # 0.4 % in all: nobody's business


def test_one_bad_run_in_twelve_bends_no_line():
    bad = points()
    bad[-1] = Point(day=bad[-1].day, log_time=1.0, log_canary=0.0)
    assert trend_of(bad).drift is Drift.STEADY


def test_the_canary_is_told_apart_from_the_case():
    found = trend_of(points(canary_per_run=-0.02))
    assert found.drift is Drift.STEADY
    assert found.canary_change == pytest.approx(math.expm1(-0.22))


@pytest.mark.parametrize(
    ("few", "why"),
    [
        ([], "0 run, 6 are needed"),
        (points(count=1), "1 run, 6 are needed"),
        (points(count=5, per_run=0.1), "5 runs, 6 are needed"),
        (points(count=8, per_run=0.1, days=0.1), "8 runs within 16.8 hours, a day is needed"),
    ],
)
def test_too_few_runs_or_hours_are_not_judged(few, why):
    found = trend_of(few)
    assert (found.drift, found.reason, found.change) == (Drift.TOO_FEW, why, None)


@pytest.mark.parametrize("count", [6, 7, 10])
def test_runs_of_unchanged_code_are_called_slower_or_faster_at_most_once_in_a_hundred(count):
    drifts = [trend_of(points(count=count, sd=0.05, seed=seed)).drift for seed in range(1000)]
    alarms = sum(drift in (Drift.SLOWER, Drift.FASTER) for drift in drifts)
    assert alarms <= 18  # 1.8 %: chance takes 1 % there in one of a hundred


def test_exit_codes():
    slower, steady, unclear = (trend_of(points(**how)) for how in ({"per_run": 0.01}, {}, {"sd": 0.1}))
    few = trend_of([])
    assert [exit_code(found, is_strict=False) for found in ([slower, few], [steady, unclear], [few], [])] == [
        1,
        0,
        3,
        3,
    ]
    assert [exit_code(found, is_strict=True) for found in ([steady], [steady, unclear], [steady, few])] == [0, 5, 5]
