"""When an answer counts as going in circles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinetics.specs.generation import RepetitionRule

RULE = RepetitionRule(window=64, copies=4)


@pytest.mark.parametrize("period", [1, 2, 7, 16])
def test_four_copies_of_a_stretch_end_an_answer(period):
    assert RULE.is_met([-1] * 64 + (list(range(period)) * 64)[:64])


def test_a_stretch_longer_than_a_quarter_of_the_window_may_repeat():
    assert not RULE.is_met(list(range(17)) * 64)


def test_the_last_tokens_decide_and_earlier_ones_do_not():
    assert not RULE.is_met([1] * 64 + list(range(64)))


@pytest.mark.parametrize("length", [63, 65, 71])
def test_it_is_looked_at_on_every_eighth_of_the_window_only(length):
    assert not RULE.is_met([1] * length)
    assert RULE.is_met([1] * 64)
    assert RULE.is_met([1] * 72)


@given(st.lists(st.integers(0, 2), min_size=64, max_size=64))
def test_it_agrees_with_trying_every_period(tokens):
    has_period = any(all(tokens[i] == tokens[i - p] for i in range(p, 64)) for p in range(1, 17))
    assert RULE.is_met(tokens) == has_period


def test_a_rule_without_copies_is_refused():
    with pytest.raises(ValueError, match="at least 2 copies within its window, got 1 in 64"):
        RepetitionRule(window=64, copies=1)
