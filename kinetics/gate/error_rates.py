"""What the gate can see and how often it errs: smallest detectable slow-down, false-alarm rates, their intervals. Pure.

Rates are estimated by drawing launches, with replacement, from those at hand: without, the mean of a draw would stray
less than that of as many new launches. The number of draws says nothing of the certainty; the intervals count launches,
and are too narrow still, for a decision takes several.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from scipy import optimize, stats

from kinetics.gate.decision import MIN_MARGIN, Verdict, critical_t, decide, judge, look_at

NUM_DRAWS = 2000
RateOf = Callable[..., float]
"""`first_look_rate` or `confirmed_rate`."""
_NO_HITS = 1e-9
_FLOOR_QUANTILE = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How often something happened, with the 95 % Clopper-Pearson interval for `num_trials`."""

    value: float
    num_trials: int
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"


def clopper_pearson(rate: float, num_trials: int) -> Rate:
    """`rate` with its exact binomial interval, as if `rate * num_trials` of `num_trials` trials had succeeded.

    Raises: ValueError unless the rate lies in 0..1 and there is a trial.
    """
    if not 0.0 <= rate <= 1.0 or num_trials < 1:
        raise ValueError(f"a rate must lie between 0 and 1 over at least one trial, got {rate} over {num_trials}")
    hits = rate * num_trials
    low = float(stats.beta.ppf(0.025, hits, num_trials - hits + 1)) if hits > _NO_HITS else 0.0
    high = float(stats.beta.ppf(0.975, hits + 1, num_trials - hits)) if hits < num_trials else 1.0
    return Rate(value=rate, num_trials=num_trials, low=low, high=high)


def smallest_detectable(
    sd: float, *, num_launches: int, margin: float, power: float = 0.8, num_looks: int = 2
) -> float:
    """The slow-down (0.05 is 5 %) that the gate reports with this power, every look included.

    `sd`: of the log-ratio over launches. Exact for normal log-ratios: power of a one-sided t test, by the noncentral t.
    """
    shift = _noncentral_shift(num_launches, power ** (1.0 / num_looks))
    return math.expm1(math.log1p(margin) + shift * sd / math.sqrt(num_launches))


@cache
def _noncentral_shift(num_launches: int, power: float) -> float:
    """The true mean, in standard errors above the margin, at which one look says SLOW with this power."""
    critical = critical_t(num_launches)
    return float(
        optimize.brentq(
            lambda shift: float(stats.nct.sf(critical, num_launches - 1, shift)) - power, 0.0, 20.0 * critical
        )
    )


def confirmed_rate(log_ratios: Sequence[float], *, num_launches: int, margin: float, seed: int) -> float:
    """Share of confirmed decisions that say SLOW, over random draws of two sets of launches.

    Raises: ValueError if there are fewer launches than one look takes.
    """
    _check_enough(log_ratios, num_launches)
    rng = random.Random(seed)  # noqa: S311 - draws of launches, not secrets
    hits = 0
    for _ in range(NUM_DRAWS):
        drawn = rng.choices(log_ratios, k=2 * num_launches)
        decision = decide(drawn[:num_launches], drawn[num_launches:], margin=margin)
        hits += decision.verdict is Verdict.SLOW
    return hits / NUM_DRAWS


def first_look_rate(log_ratios: Sequence[float], *, num_launches: int, margin: float, seed: int) -> float:
    """Share of single looks that say SLOW, over random draws of launches.

    Raises: ValueError if there are fewer launches than one look takes.
    """
    _check_enough(log_ratios, num_launches)
    rng = random.Random(seed)  # noqa: S311 - draws of launches, not secrets
    draws = (rng.choices(log_ratios, k=num_launches) for _ in range(NUM_DRAWS))
    return sum(judge(look_at(drawn), margin=margin) is Verdict.SLOW for drawn in draws) / NUM_DRAWS


def measured_margin(log_ratios: Sequence[float], *, num_launches: int, seed: int) -> float:
    """The margin that identical code asks for: 1 %, or more if the mean of `num_launches` launches strays further.

    The 99th percentile of |mean| over draws from launches of identical code (A/A).

    Raises: ValueError if there are fewer launches than one look takes.
    """
    _check_enough(log_ratios, num_launches)
    rng = random.Random(seed)  # noqa: S311 - draws of launches, not secrets
    means = sorted(abs(statistics.fmean(rng.choices(log_ratios, k=num_launches))) for _ in range(NUM_DRAWS))
    return max(MIN_MARGIN, math.expm1(means[math.ceil(_FLOOR_QUANTILE * NUM_DRAWS) - 1]))


def cross_fitted(rate: RateOf, log_ratios: Sequence[float], *, num_launches: int, seed: int) -> float:
    """`rate` of each half of the launches at the margin that the other half asks for, averaged.

    On the launches that a margin was made from it hardly ever fails.
    """
    halves = log_ratios[::2], log_ratios[1::2]
    rates = []
    for own, other in (halves, halves[::-1]):
        margin = measured_margin(other, num_launches=num_launches, seed=seed)
        rates.append(rate(own, num_launches=num_launches, margin=margin, seed=seed))
    return statistics.fmean(rates)


def _check_enough(log_ratios: Sequence[float], needed: int) -> None:
    if len(log_ratios) < needed:
        raise ValueError(f"this rate needs at least {needed} launches, got {len(log_ratios)}; raise --launches")
