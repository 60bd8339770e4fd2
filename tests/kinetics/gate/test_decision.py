"""Verdicts of one case: properties, false alarms and power under simulated launches, and what breaks them."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.gate.decision import Verdict, decide, judge, launches_to_settle, look_at

log_ratio = st.floats(-0.5, 0.5)
launches = st.lists(log_ratio, min_size=3, max_size=12)


def simulated(rng, shift, sd, count=5):
    return [rng.gauss(math.log1p(shift), sd) for _ in range(count)]


def rate(verdict, shift, sd, *, num_decisions=2000, seed=1):
    """Share of confirmed decisions with this verdict."""
    rng = random.Random(seed)
    decisions = (
        decide(simulated(rng, shift, sd), simulated(rng, shift, sd), margin=0.01) for _ in range(num_decisions)
    )
    return sum(decision.verdict is verdict for decision in decisions) / num_decisions


@given(launches)
def test_bounds_enclose_the_mean_and_the_mirror_of_slow_is_fast(values):
    look, mirror = look_at(values), look_at([-value for value in values])
    assert look.lower <= look.mean <= look.upper
    assert mirror.lower == pytest.approx(-look.upper)
    flipped = {Verdict.SLOW: Verdict.FAST, Verdict.FAST: Verdict.SLOW}
    verdict = judge(look, margin=0.01)
    if verdict in flipped:
        assert judge(mirror, margin=0.01) is flipped[verdict]


@given(launches, st.permutations(range(12)))
def test_the_order_of_launches_does_not_matter(values, order):
    shuffled = [values[i] for i in order if i < len(values)]
    assert judge(look_at(values), margin=0.01) is judge(look_at(shuffled), margin=0.01)


@given(launches, st.floats(0.01, 0.3))
def test_a_slower_candidate_never_looks_faster(values, shift):
    rank = {Verdict.FAST: 0, Verdict.SAME: 1, Verdict.AMBIGUOUS: 2, Verdict.SLOW: 3}
    slower = [value + shift for value in values]
    assert rank[judge(look_at(slower), margin=0.01)] >= rank[judge(look_at(values), margin=0.01)]


@given(launches, launches)
def test_slow_and_fast_need_both_looks(first, second):
    decision = decide(first, second, margin=0.01)
    if decision.verdict in (Verdict.SLOW, Verdict.FAST):
        assert [judge(look, margin=0.01) for look in decision.looks] == [decision.verdict] * 2


def test_identical_code_is_the_same_and_five_percent_is_slow_on_a_quiet_machine():
    assert decide([0.001, -0.002, 0.0, 0.001, -0.001], None, margin=0.01).verdict is Verdict.SAME
    slow = [0.048, 0.051, 0.049, 0.05, 0.047]
    assert decide(slow, slow, margin=0.01).verdict is Verdict.SLOW


def test_looks_that_disagree_are_ambiguous_and_say_how_many_launches_would_settle_it():
    decision = decide([0.05, 0.051, 0.049, 0.05, 0.052], [0.0, 0.01, -0.01, 0.0, 0.0], margin=0.01)
    assert decision.verdict is Verdict.AMBIGUOUS
    assert decision.num_launches_needed is not None
    assert decision.num_launches_needed > 10


@pytest.mark.parametrize("sd", [0.005, 0.015, 0.025, 0.05])
def test_confirmed_false_alarms_stay_below_one_percent(sd):
    assert rate(Verdict.SLOW, 0.0, sd) <= 0.002
    assert rate(Verdict.FAST, 0.0, sd) <= 0.002


def test_even_code_slower_by_the_margin_itself_is_flagged_at_one_look_no_more_than_promised():
    rng = random.Random(2)
    flagged = sum(judge(look_at(simulated(rng, 0.01, 0.02)), margin=0.01) is Verdict.SLOW for _ in range(10000))
    assert 0.008 <= flagged / 10000 <= 0.012


def test_power_reaches_what_is_promised_at_the_stated_spreads():
    """At the edge of the promise: normal launches, a margin of 1 %."""
    assert rate(Verdict.SLOW, 0.10, 0.025) >= 0.80
    assert rate(Verdict.SLOW, 0.05, 0.015) >= 0.60


def test_settling_takes_the_launches_that_are_predicted():
    rng = random.Random(3)
    look = look_at(simulated(rng, 0.0, 0.02))
    needed = launches_to_settle(look, margin=0.01)
    assert needed is not None
    settled = [look.mean + look.sd * z for z in (math.sqrt((needed - 1) / needed), -math.sqrt((needed - 1) / needed))]
    assert judge(look_at(settled * (needed // 2 + 1)), margin=0.01) is not Verdict.AMBIGUOUS
    assert launches_to_settle(look_at([math.log(1.01), 0.2, math.log(1.01) * 2 - 0.2]), margin=0.01) is None


@pytest.mark.parametrize("values", [[0.1, 0.2], [0.0, 0.1, math.nan], [0.0, 0.1, math.inf]])
def test_too_few_or_endless_launches_are_refused(values):
    with pytest.raises(ValueError, match=r"at least 3 launches|must be finite"):
        look_at(values)
