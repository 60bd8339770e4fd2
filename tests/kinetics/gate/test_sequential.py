"""The sequential rule: what it promises under simulated launches, what never changes, and what it refuses."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.gate.decision import Verdict, look_at
from kinetics.gate.sequential import LOOKS, decide, judge_within

launches = st.lists(st.floats(-0.3, 0.3), min_size=0, max_size=40)


def decided(rng, shift, sd, *, budget=0.05):
    """The decision on a case whose launches are normal, taken until it is decided."""
    values = []
    decision = decide(values, budget=budget)
    while decision.num_launches_next:
        values += [rng.gauss(math.log1p(shift), sd) for _ in range(decision.num_launches_next - len(values))]
        decision = decide(values, budget=budget)
    return decision


def shares(shift, sd, *, num_decisions=400, seed=1, budget=0.05):
    """Shares of SLOW, SAME and FAST, and the mean number of launches."""
    rng = random.Random(seed)
    decisions = [decided(rng, shift, sd, budget=budget) for _ in range(num_decisions)]
    found = [one.verdict for one in decisions]
    verdicts = [found.count(verdict) / num_decisions for verdict in (Verdict.SLOW, Verdict.SAME, Verdict.FAST)]
    return *verdicts, sum(one.num_looked_at for one in decisions) / num_decisions


@pytest.mark.parametrize(("sd", "most_launches"), [(0.005, 4.1), (0.015, 5), (0.025, 7), (0.05, 16)])
def test_unchanged_code_is_the_same_within_few_launches(sd, most_launches):
    slow, same, _, num_launches = shares(0.0, sd)
    assert slow == 0.0
    assert same >= 0.99
    assert num_launches <= most_launches


def test_planted_slow_downs_are_found_as_promised():
    assert shares(0.10, 0.025)[0] >= 0.95
    assert shares(0.05, 0.015)[0] >= 0.90
    assert shares(0.02, 0.005, budget=0.02)[0] >= 0.90


def test_a_slow_down_by_the_margin_is_rarely_called_slow_and_one_by_the_budget_rarely_the_same():
    assert shares(0.01, 0.05, num_decisions=1000)[0] <= 0.01
    assert shares(0.05, 0.05, num_decisions=1000)[1] <= 0.12


def test_a_run_of_looks_flags_a_slow_down_by_the_margin_in_at_most_seven_percent():
    """What the confirmation rests on: one look flags 1 %, seventeen looks less than their sum."""
    rng = random.Random(4)
    flagged = 0
    for _ in range(1000):
        decision = decided(rng, 0.01, 0.06)
        flagged += decision.flagged is Verdict.SLOW
    assert 0.02 <= flagged / 1000 <= 0.07


@given(launches, st.floats(0.02, 0.2))
def test_the_mirror_of_slow_is_fast(values, budget):
    mirror = {Verdict.SLOW: Verdict.FAST, Verdict.FAST: Verdict.SLOW}
    decision = decide(values, budget=budget)
    flipped = decide([-value for value in values], budget=budget)
    assert flipped.verdict is mirror.get(decision.verdict, decision.verdict)
    assert flipped.num_looked_at == decision.num_looked_at


@given(launches, launches, st.floats(0.02, 0.2))
def test_what_is_decided_stays_decided_whatever_follows(values, more, budget):
    decision = decide(values, budget=budget)
    if decision.is_decided:
        assert decide([*values, *more], budget=budget) == decision


@given(launches, st.floats(0.02, 0.2))
def test_nothing_is_looked_at_between_looks(values, budget):
    decision = decide(values, budget=budget)
    if decision.num_launches_next is not None:
        rest = decision.num_launches_next - len(values) - 1
        assert rest >= 0
        assert not decide([*values, *[0.5] * rest], budget=budget).is_decided


@given(launches, st.floats(0.02, 0.2))
def test_slow_and_fast_were_said_by_two_runs_of_looks(values, budget):
    decision = decide(values, budget=budget)
    if decision.verdict in (Verdict.SLOW, Verdict.FAST):
        assert decision.flagged is decision.verdict
        assert decision.num_looked_at >= 2 * LOOKS[0]


def test_the_verdicts_of_steady_launches():
    wobble = [0.001, -0.001, 0.0005, -0.0005]
    for shift, verdict, num_launches in (
        (0.0, Verdict.SAME, 4), (0.03, Verdict.SAME, 4), (0.08, Verdict.SLOW, 8), (-0.08, Verdict.FAST, 8),
    ):  # fmt: skip
        decision = decide([shift + one for one in wobble * 5], budget=0.05)
        assert (decision.verdict, decision.num_looked_at) == (verdict, num_launches)


def test_a_flag_that_new_launches_do_not_repeat_is_the_same():
    wobble = [0.001, -0.001, 0.0005, -0.0005]
    flagged = [0.08 + one for one in wobble]
    assert decide(flagged, budget=0.05).flagged is Verdict.SLOW
    assert decide([*flagged, *wobble], budget=0.05).verdict is Verdict.SAME
    fast = [-0.08 + one for one in wobble]
    assert decide([*flagged, *fast], budget=0.05).flagged is Verdict.FAST
    assert not decide([*flagged, *fast], budget=0.05).is_decided


def test_an_open_case_says_when_to_look_again_and_how_much_is_left():
    assert decide([], budget=0.05).num_launches_next == LOOKS[0]
    open_case = decide([0.06, -0.06, 0.05, -0.05], budget=0.05)
    assert open_case.num_launches_next == 6
    left = open_case.num_launches_left
    assert left is not None
    settled = decide([0.058, -0.058] * ((4 + left) // 2), budget=0.05)
    assert settled.verdict is Verdict.SAME
    endless = decide([0.03 + 0.2 * (-1) ** one for one in range(LOOKS[-1])], budget=0.05)
    assert (endless.is_decided, endless.num_launches_next, endless.num_launches_left) == (False, None, None)


def test_a_slow_down_that_is_left_counts_its_confirmation():
    """Flagged at 6 launches, say, it needs 6 new ones."""
    slow = decide([0.16, 0.04, 0.16, 0.04], budget=0.05)
    assert slow.num_launches_left is not None
    assert slow.num_launches_left > 4
    assert (slow.num_launches_left + 4) % 2 == 0


@pytest.mark.parametrize("budget", [0.01, 0.0, -1.0, math.inf, math.nan])
def test_a_budget_within_the_margin_is_refused(budget):
    with pytest.raises(ValueError, match="must exceed the margin of 1 %"):
        decide([0.0] * 4, budget=budget)


def test_a_launch_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="must be finite"):
        decide([0.0, math.nan], budget=0.05)


def test_within_the_budget_is_the_same_however_exactly_known():
    assert judge_within(look_at([0.03, 0.0301, 0.0299, 0.03]), budget=0.05, margin=0.01) is Verdict.SAME
    assert judge_within(look_at([0.03, 0.0301, 0.0299, 0.03]), budget=0.02, margin=0.01) is Verdict.SLOW
