"""The law from logs of one's own: frontiers per attention family on several cost axes, and the tables made of them.

"The paper on your hardware" sets the cheapest choice by the paper's B200 eFLOPs beside the cheapest by seconds here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kinetics.cost.published import TERA_EFLOP_PER_B200_S
from kinetics.law.accuracy_estimates import bootstrap_interval
from kinetics.law.claims import BEST_OF_N, LONG_COT
from kinetics.law.log_options import COSTS, Spending
from kinetics.specs.policies import PolicyKind, policy_label
from kinetics.tables.table import Table, Value

FloatArray = NDArray[np.float64]
EFLOP: Final = "exact_tera_eflop"
MEASURED: Final = "measured_s"
PREDICTED: Final = "predicted_s"
JOULES: Final = "measured_j"
AXES: Final = (EFLOP, PREDICTED, MEASURED, JOULES)
"""What frontiers are drawn over; one that no log tells has none."""
NUM_COSTS: Final = 60
NUM_RESAMPLES: Final = 1000
NUM_LEVELS: Final = 10
"""Accuracy levels of the hardware table: tenths of the highest accuracy."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FamilyFrontier:
    """Best accuracy within each cost, of one attention family over all models, caps and trials.

    `per_resample` [num_resamples, num_costs] is the same over bootstrap draws of whole questions; families share the
    draws, so that differences between them are paired. `best[i]` is None where nothing is affordable.
    """

    family: PolicyKind
    cost: FloatArray
    accuracy: FloatArray
    per_resample: FloatArray
    best: tuple[Spending | None, ...]

    @property
    def low(self) -> FloatArray:
        """Lower end of the 95 % interval."""
        return np.asarray(np.percentile(self.per_resample, 2.5, axis=0))

    @property
    def high(self) -> FloatArray:
        """Upper end of the 95 % interval."""
        return np.asarray(np.percentile(self.per_resample, 97.5, axis=0))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """A sparse frontier against the dense one, at the costs where dense lies between 20 and 90 % of its maximum.

    `num_below`: costs at which sparse is less accurate; `num_clearly_below`: with the whole 95 % interval of the
    paired difference. `cost_ratio_at_dense_maximum` is 0 if sparse never gets there.
    """

    family: PolicyKind
    num_costs: int
    num_below: int
    num_clearly_below: int
    smallest_gain: float
    largest_gain: float
    cost_ratio_at_dense_maximum: float


def family_frontiers(options: Sequence[Spending], cost_name: str, *, seed: int = 0) -> list[FamilyFrontier]:
    """One frontier per family that has this cost, all on one grid."""
    priced = [option for option in options if option.cost[cost_name] is not None]
    if not priced:
        return []
    costs = np.array([option.cost[cost_name] for option in priced], dtype=np.float64)
    grid = np.geomspace(costs.min(), costs.max(), NUM_COSTS)
    weights = _resample_weights(len(priced[0].accuracy), seed=seed)
    families = sorted({option.family for option in priced}, key=list(PolicyKind).index)
    return [_frontier(family, priced, cost_name, grid, weights) for family in families]


def _frontier(
    family: PolicyKind, priced: Sequence[Spending], cost_name: str, grid: FloatArray, weights: FloatArray
) -> FamilyFrontier:
    own = sorted((o for o in priced if o.family is family), key=lambda o: (_cost(o, cost_name), -o.accuracy.mean()))
    costs = np.array([_cost(option, cost_name) for option in own])
    per_question = np.stack([option.accuracy for option in own])
    means = per_question.mean(axis=1)
    last = np.searchsorted(costs, grid * (1 + 1e-12), side="right") - 1
    can_pay = last >= 0
    reached = np.maximum.accumulate(means)[last]
    # The first to reach an accuracy keeps it: of equals the cheapest.
    leader = np.maximum.accumulate(
        np.where(np.diff(np.maximum.accumulate(means), prepend=-1.0) > 0, np.arange(len(own)), 0)
    )
    resampled = np.maximum.accumulate(weights @ per_question.T, axis=1)[:, last]
    return FamilyFrontier(
        family=family,
        cost=grid,
        accuracy=np.where(can_pay, reached, 0.0),
        per_resample=np.where(can_pay, resampled, 0.0),
        best=tuple(own[leader[i]] if pays else None for i, pays in zip(last, can_pay, strict=True)),
    )


def compare_with_dense(frontiers: Sequence[FamilyFrontier]) -> list[Comparison]:
    """Every sparse family against dense; empty without a dense frontier."""
    dense = next((f for f in frontiers if f.family is PolicyKind.DENSE), None)
    return [_compare(dense, f) for f in frontiers if f is not dense] if dense else []


def _compare(dense: FamilyFrontier, sparse: FamilyFrontier) -> Comparison:
    highest = dense.accuracy.max()
    is_between = (highest > 0) & (dense.accuracy >= 0.2 * highest) & (dense.accuracy <= 0.9 * highest)
    gain = (sparse.accuracy - dense.accuracy)[is_between]
    high = np.percentile(sparse.per_resample - dense.per_resample, 97.5, axis=0)[is_between]
    return Comparison(
        family=sparse.family,
        num_costs=int(is_between.sum()),
        num_below=int((gain < 0).sum()),
        num_clearly_below=int((high < 0).sum()),
        smallest_gain=float(gain.min(initial=np.inf)),
        largest_gain=float(gain.max(initial=-np.inf)),
        cost_ratio_at_dense_maximum=_cost_to_reach(highest, dense) / _cost_to_reach(highest, sparse),
    )


def options_of(task: str, options: Sequence[Spending]) -> list[Spending]:
    """The options of one way of spending, as the paper compares them: one longer answer, or more whole answers.

    Raises: ValueError for a task that is neither.
    """
    if task == LONG_COT:
        return [option for option in options if option.trials == 1]
    if task != BEST_OF_N:
        raise ValueError(f"task must be {LONG_COT} or {BEST_OF_N}, got {task!r}")
    longest: dict[str, int] = {}
    for option in options:
        longest[option.label] = max(option.max_generated, longest.get(option.label, 0))
    return [option for option in options if option.max_generated == longest[option.label]]


def trace_tables(options: Sequence[Spending], *, seed: int = 0) -> list[Table]:
    """All tables of a set of logs."""
    frontiers = {name: family_frontiers(options, name, seed=seed) for name in AXES}
    return [
        _options_table(options, seed=seed),
        _frontier_table(frontiers),
        _comparison_table(options, seed=seed),
        _changes_table(frontiers),
        _hardware_table(options),
    ]


def _options_table(options: Sequence[Spending], *, seed: int) -> Table:
    rows = []
    for option in options:
        low, high = bootstrap_interval(option.accuracy, num_resamples=NUM_RESAMPLES, seed=seed)
        rows.append((
            option.model, policy_label(option.policy), option.max_generated, option.trials,
            float(option.accuracy.mean()), float(low), float(high), option.mean_tokens,
            *(option.cost[name] for name in COSTS),
        ))  # fmt: skip
    columns = (
        "model", "attention", "max_generated", "trials", "accuracy", "low", "high", "generated_tokens", *COSTS,
    )  # fmt: skip
    return Table(name="accuracy_per_cost", columns=columns, rows=tuple(rows), prints_markdown=False)


def _frontier_table(frontiers: dict[str, list[FamilyFrontier]]) -> Table:
    rows = tuple(
        (
            name, f.family.value, float(f.cost[i]), float(f.accuracy[i]), float(f.low[i]), float(f.high[i]),
            *_choice(f.best[i]),
        )
        for name, group in frontiers.items()
        for f in group
        for i in range(len(f.cost))
    )  # fmt: skip
    columns = ("axis", "family", "cost", "accuracy", "low", "high", "model", "attention", "max_generated", "trials")
    return Table(name="trace_frontiers", columns=columns, rows=rows, prints_markdown=False)


def _comparison_table(options: Sequence[Spending], *, seed: int) -> Table:
    rows = tuple(
        (
            task, name, c.family.value, c.num_costs, c.num_below, c.num_clearly_below, 100 * c.smallest_gain,
            100 * c.largest_gain, c.cost_ratio_at_dense_maximum,
        )
        for task in (LONG_COT, BEST_OF_N)
        for name in AXES
        for c in compare_with_dense(family_frontiers(options_of(task, options), name, seed=seed))
    )  # fmt: skip
    columns = (
        "task", "axis", "family", "costs_compared", "sparse_below", "clearly_below", "smallest_gain_points",
        "largest_gain_points", "cost_ratio_at_dense_maximum",
    )  # fmt: skip
    return Table(name="sparse_against_dense", columns=columns, rows=rows)


def _changes_table(frontiers: dict[str, list[FamilyFrontier]]) -> Table:
    """Where along each frontier the best model or KV budget changes."""
    rows: list[tuple[Value, ...]] = []
    for name, group in frontiers.items():
        for frontier in group:
            previous = ""
            for i, best in enumerate(frontier.best):
                if best is not None and best.label != previous and best.accuracy.mean() > 0:
                    previous = best.label
                    at = (float(frontier.cost[i]), float(frontier.accuracy[i]))
                    rows.append((name, frontier.family.value, *at, best.model, policy_label(best.policy)))
    columns = ("axis", "family", "from_cost", "accuracy", "model", "attention")
    return Table(name="choice_changes", columns=columns, rows=tuple(rows))


def _hardware_table(options: Sequence[Spending]) -> Table:
    """The cheapest choice for each accuracy, by B200 eFLOPs and by seconds here, and what the first costs here."""
    columns = (
        "accuracy", "b200_choice", "b200_max_generated", "b200_trials", "b200_tera_eflop", "b200_s", "here_choice",
        "here_max_generated", "here_trials", "here_measured_s", "same_choice", "b200_choice_here_s", "penalty",
    )  # fmt: skip
    timed = [option for option in options if option.cost[MEASURED] is not None]
    highest = max((float(option.accuracy.mean()) for option in timed), default=0.0)
    rows = []
    for level in np.linspace(0.1, 1.0, NUM_LEVELS) * highest:
        able = [option for option in timed if option.accuracy.mean() >= level - 1e-12]
        if not able or not highest:
            continue
        paper, here = (_cheapest(able, name) for name in (EFLOP, MEASURED))
        eflop, there_s, here_s = _cost(paper, EFLOP), _cost(paper, MEASURED), _cost(here, MEASURED)
        rows.append((
            float(level), paper.label, paper.max_generated, paper.trials, eflop, eflop / TERA_EFLOP_PER_B200_S,
            here.label, here.max_generated, here.trials, here_s, paper.label == here.label, there_s, there_s / here_s,
        ))  # fmt: skip
    return Table(name="your_hardware", columns=columns, rows=tuple(rows))


def _choice(best: Spending | None) -> tuple[Value, ...]:
    if best is None:
        return ("", "", None, None)
    return (best.model, policy_label(best.policy), best.max_generated, best.trials)


def _cheapest(options: Sequence[Spending], name: str) -> Spending:
    return min(options, key=lambda option: _cost(option, name))


def _cost(option: Spending, name: str) -> float:
    cost = option.cost[name]
    assert cost is not None
    return cost


def _cost_to_reach(accuracy: float, frontier: FamilyFrontier) -> float:
    above = np.flatnonzero(frontier.accuracy >= accuracy - 1e-12)
    return float(frontier.cost[above[0]]) if above.size else float("inf")


def _resample_weights(num_questions: int, *, seed: int) -> FloatArray:
    """Shares of each question in each bootstrap draw: [num_resamples, num_questions]."""
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(num_questions, np.full(num_questions, 1 / num_questions), size=NUM_RESAMPLES)
    return np.asarray(draws / num_questions)
