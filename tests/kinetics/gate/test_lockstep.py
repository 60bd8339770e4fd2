"""Rounds visit every side there and back, and their median tells a planted factor through drift and noise."""

import itertools
import math
import random

import pytest

from kinetics.gate.lockstep import Sample, log_ratio, median_canary, median_s, run_rounds


class Clock:
    """One machine that all sides share; it slows down with every call."""

    def __init__(self, drift):
        self.calls = itertools.count()
        self.drift = drift


class FakeSide:
    def __init__(self, name, seconds, clock, log, noise=0.0, seed=0):
        self.name, self.seconds, self.clock, self.log = name, seconds, clock, log
        self.noise, self.rng = noise, random.Random(seed)

    def run_once(self):
        self.log.append(self.name)
        slowed = 1.0 + self.clock.drift * next(self.clock.calls)
        return Sample(seconds=self.seconds * slowed * math.exp(self.rng.gauss(0, self.noise)), canary_bytes_per_s=2e9)


def rounds_of(seconds, *, drift=0.0, noise=0.0, num_rounds=20, seed=1):
    clock, log = Clock(drift), []
    sides = {name: FakeSide(name, s, clock, log, noise, seed=i) for i, (name, s) in enumerate(seconds.items())}
    return run_rounds(sides, num_rounds=num_rounds, rng=random.Random(seed)), log


def test_each_round_goes_there_and_back_in_an_order_that_changes():
    rounds, log = rounds_of({"base": 1.0, "candidate": 1.0, "copy": 1.0})
    orders = [log[i : i + 6] for i in range(0, len(log), 6)]
    assert all(order == order[::-1] for order in orders)
    assert len({tuple(order) for order in orders}) > 3
    assert {name: len(pairs) for name, pairs in rounds.items()} == {"base": 20, "candidate": 20, "copy": 20}


def test_a_planted_factor_is_found_exactly_and_the_other_way_round_with_the_other_sign():
    rounds, _ = rounds_of({"base": 1.0, "candidate": 1.05})
    assert log_ratio(rounds["base"], rounds["candidate"]) == pytest.approx(math.log(1.05))
    assert log_ratio(rounds["candidate"], rounds["base"]) == pytest.approx(-math.log(1.05))


def test_a_drift_of_the_machine_cancels_within_the_round():
    rounds, _ = rounds_of({"base": 1.0, "candidate": 1.0}, drift=0.02)
    assert abs(log_ratio(rounds["base"], rounds["candidate"])) < 1e-3


def test_stalls_in_a_few_rounds_do_not_move_the_median():
    rounds, _ = rounds_of({"base": 1.0, "candidate": 1.05}, noise=0.005)
    for number in (0, 5, 9):
        _, back = rounds["base"][number]
        rounds["base"][number] = (Sample(seconds=50.0, canary_bytes_per_s=1e9), back)
    assert log_ratio(rounds["base"], rounds["candidate"]) == pytest.approx(math.log(1.05), abs=0.006)


def test_medians_are_over_all_calls_of_a_side():
    rounds, _ = rounds_of({"candidate": 3.0}, num_rounds=3)
    assert (median_s(rounds["candidate"]), median_canary(rounds["candidate"])) == (3.0, 2e9)
