"""Two cases timed in the same rounds: what slows one of them is told, what slows both is not."""

import random

import pytest

from kinetics.bench.judged_pair import judge_pair
from kinetics.gate.decision import Verdict


def rounds(factor: float, *, seed: int) -> tuple[list[float], list[float]]:
    """Seconds of a candidate and its base under a load that comes and goes for both."""
    rng = random.Random(seed)
    load = [1.0 + 3.0 * (number // 20 % 2) for number in range(100)]
    base = [1e-3 * one * rng.uniform(0.99, 1.01) for one in load]
    candidate = [1e-3 * factor * one * rng.uniform(0.99, 1.01) for one in load]
    return candidate, base


@pytest.mark.parametrize(("factor", "verdict"), [(1.2, Verdict.SLOW), (1.0, Verdict.SAME), (0.8, Verdict.FAST)])
def test_a_factor_is_found_under_a_load_that_both_feel(factor: float, verdict: Verdict) -> None:
    assert judge_pair(*rounds(factor, seed=1), margin=0.05).verdict is verdict


def test_less_than_the_margin_is_not_slow() -> None:
    assert judge_pair(*rounds(1.03, seed=2), margin=0.05).verdict is Verdict.SAME


def test_one_wild_round_decides_nothing() -> None:
    candidate, base = rounds(1.0, seed=3)
    candidate[40] *= 1000
    assert judge_pair(candidate, base, margin=0.05).verdict is Verdict.SAME


@pytest.mark.parametrize("num_rounds", [0, 9])
def test_too_few_rounds_are_refused(num_rounds: int) -> None:
    with pytest.raises(ValueError, match="must have the same rounds, at least 10"):
        judge_pair([1.0] * num_rounds, [1.0] * num_rounds, margin=0.05)


def test_unequal_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="got 20 and 21"):
        judge_pair([1.0] * 20, [1.0] * 21, margin=0.05)
