"""The law from logs of one's own: every strategy that they answer exactly, on several cost axes, and the tables of it.

Shorter caps and fewer trials follow from the same samples; another KV budget is another log. One choice is made for
all questions, so no accuracy here knows the answers. "The paper on your hardware" sets the cheapest strategy by the
paper's B200 eFLOPs beside the cheapest by seconds here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from kinetics.cost.published import TERA_EFLOP_PER_B200_S, TRIALS
from kinetics.law.accuracy_estimates import bootstrap_interval
from kinetics.law.allocation import NUM_RESAMPLES, Strategy, StrategyTable, tabulate, uniform_frontiers
from kinetics.law.claims import BEST_OF_N, LONG_COT
from kinetics.law.frontier import Frontier, cost_ratio
from kinetics.law.measured_costs import EFLOP, JOULES, LOG_COSTS, MEASURED, PREDICTED, MeasuredDevice, log_cost_models
from kinetics.samples.log_reader import TraceFile
from kinetics.samples.sample_set import SampleSet
from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import PolicyKind, policy_label
from kinetics.tables.table import Table, Value

AXES: Final = (EFLOP, PREDICTED, MEASURED, JOULES)
"""What frontiers are drawn over; logs without a cost of that name have none there."""
NUM_CAPS: Final = 16
"""Length caps, in equal steps up to the longest there is: as many as the paper has."""
NUM_LEVELS: Final = 10
"""Accuracy levels of the hardware table: tenths of the highest accuracy."""

Frontiers = Sequence[Frontier[Strategy]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One log with the shape of its model."""

    file: TraceFile
    spec: ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """A sparse frontier against the dense one, at the costs where dense lies between 20 and 90 % of its maximum.

    `num_below`: costs at which sparse is less accurate; `num_clearly_below`: with the whole 95 % interval of the
    paired difference. `cost_ratio_at_dense_maximum` is 0 if sparse never gets there.
    """

    kind: PolicyKind
    num_costs: int
    num_below: int
    num_clearly_below: int
    smallest_gain: float
    largest_gain: float
    cost_ratio_at_dense_maximum: float


def tabulate_logs(logs: Sequence[Log], *, batch: int = 0, device: MeasuredDevice | None = None) -> StrategyTable:
    """Every strategy of every log: model x policy x length cap x trials. All logs share questions.

    Raises: ValueError if they do not.
    """
    by_set = {(log.file.samples.model, log.file.samples.policy): log for log in logs}

    def log_of(samples: SampleSet) -> Log:
        return by_set[samples.model, samples.policy]

    return tabulate(
        [log.file.samples for log in logs],
        trials=TRIALS,
        caps_of=lambda samples: caps_of(log_of(samples).file),
        cost_models_of=lambda samples: log_cost_models(
            log_of(samples).file.header, log_of(samples).spec, log_of(samples).file.usages, batch=batch, device=device
        ),
    )


def caps_of(file: TraceFile) -> list[int]:
    """Length caps in equal steps up to the run's own, or up to the longest answer where the file names none."""
    longest = max(length for question in file.samples.questions for length in question.lengths)
    most = file.header.max_new_tokens or longest
    return sorted({-(-most * step // NUM_CAPS) for step in range(1, NUM_CAPS + 1)})


def of_task(task: str, table: StrategyTable) -> StrategyTable:
    """The strategies of one way of spending, as the paper compares them: one longer answer, or more whole answers.

    Raises: ValueError for a task that is neither.
    """
    if task == LONG_COT:
        return table.only(lambda strategy: strategy.trials == 1)
    if task != BEST_OF_N:
        raise ValueError(f"task must be {LONG_COT} or {BEST_OF_N}, got {task!r}")
    longest: dict[str, int] = {}
    for strategy in table.strategies:
        longest[strategy.label] = max(strategy.max_generated or 0, longest.get(strategy.label, 0))
    return table.only(lambda strategy: strategy.max_generated == longest[strategy.label])


def compare_with_dense(frontiers: Frontiers) -> list[Comparison]:
    """Every sparse frontier against the dense one; empty without a dense frontier."""
    dense = next((frontier for frontier in frontiers if frontier.kind is PolicyKind.DENSE), None)
    return [_compare(dense, frontier) for frontier in frontiers if frontier is not dense] if dense else []


def _compare(dense: Frontier[Strategy], sparse: Frontier[Strategy]) -> Comparison:
    assert dense.per_resample is not None
    assert sparse.per_resample is not None
    highest = dense.accuracy.max()
    is_between = (highest > 0) & (dense.accuracy >= 0.2 * highest) & (dense.accuracy <= 0.9 * highest)
    gain = (sparse.accuracy - dense.accuracy)[is_between]
    high = np.percentile(sparse.per_resample - dense.per_resample, 97.5, axis=0)[is_between]
    return Comparison(
        kind=sparse.kind,
        num_costs=int(is_between.sum()),
        num_below=int((gain < 0).sum()),
        num_clearly_below=int((high < 0).sum()),
        smallest_gain=float(gain.min(initial=np.inf)),
        largest_gain=float(gain.max(initial=-np.inf)),
        cost_ratio_at_dense_maximum=cost_ratio(dense, sparse, on_grid=True),
    )


def log_tables(table: StrategyTable, *, seed: int = 0) -> list[Table]:
    """All tables of a set of logs."""
    frontiers = {axis: uniform_frontiers(table, axis, seed=seed) for axis in AXES}
    return [
        _strategies(table, seed=seed),
        _frontier_points(frontiers),
        _comparisons(table, seed=seed),
        _choice_changes(frontiers),
        _your_hardware(table.priced(MEASURED)),
    ]


def _strategies(table: StrategyTable, *, seed: int) -> Table:
    columns = (
        "model", "attention", "max_generated", "trials", "accuracy", "low", "high", "generated_tokens", *LOG_COSTS,
    )  # fmt: skip
    low, high = bootstrap_interval(table.accuracy, num_resamples=NUM_RESAMPLES, seed=seed)
    measures = np.stack([table.accuracy.mean(axis=0), low, high, table.tokens.mean(axis=0)], axis=1)
    costs = [table.cost[name].mean(axis=0) if name in table.cost else None for name in LOG_COSTS]
    rows = tuple(
        (*_describe(strategy), *measures[i].tolist(), *(None if cost is None else _known(cost[i]) for cost in costs))
        for i, strategy in enumerate(table.strategies)
    )
    return Table(name="accuracy_per_cost", columns=columns, rows=rows, prints_markdown=False)


def _frontier_points(frontiers: dict[str, list[Frontier[Strategy]]]) -> Table:
    columns = ("axis", "family", "cost", "accuracy", "low", "high", "model", "attention", "max_generated", "trials")
    rows = []
    for axis, frontier in _each(frontiers):
        points = zip(frontier.cost, frontier.accuracy, frontier.quantile(2.5), frontier.quantile(97.5), strict=True)
        rows += [
            (axis, frontier.kind.value, *map(float, point), *(_describe(best) if best else ("", "", None, None)))
            for point, best in zip(points, frontier.best, strict=True)
        ]
    return Table(name="trace_frontiers", columns=columns, rows=tuple(rows), prints_markdown=False)


def _comparisons(table: StrategyTable, *, seed: int) -> Table:
    columns = (
        "task", "axis", "family", "costs_compared", "sparse_below", "clearly_below", "smallest_gain_points",
        "largest_gain_points", "cost_ratio_at_dense_maximum",
    )  # fmt: skip
    rows = tuple(
        (
            task, axis, c.kind.value, c.num_costs, c.num_below, c.num_clearly_below, 100 * c.smallest_gain,
            100 * c.largest_gain, c.cost_ratio_at_dense_maximum,
        )
        for task in (LONG_COT, BEST_OF_N)
        for axis in AXES
        for c in compare_with_dense(uniform_frontiers(of_task(task, table), axis, seed=seed))
    )  # fmt: skip
    return Table(name="sparse_against_dense", columns=columns, rows=rows)


def _choice_changes(frontiers: dict[str, list[Frontier[Strategy]]]) -> Table:
    """Where along each frontier the best model or KV budget changes."""
    rows: list[tuple[Value, ...]] = []
    for axis, frontier in _each(frontiers):
        previous = ""
        for cost, accuracy, best in zip(frontier.cost, frontier.accuracy, frontier.best, strict=True):
            if best is not None and best.label != previous and accuracy > 0:
                previous = best.label
                label = policy_label(best.policy)
                rows.append((axis, frontier.kind.value, float(cost), float(accuracy), best.model, label))
    columns = ("axis", "family", "from_cost", "accuracy", "model", "attention")
    return Table(name="choice_changes", columns=columns, rows=tuple(rows))


def _your_hardware(timed: StrategyTable) -> Table:
    """The cheapest choice for each accuracy, by B200 eFLOPs and by seconds here, and what the first costs here."""
    columns = (
        "accuracy", "b200_choice", "b200_max_generated", "b200_trials", "b200_tera_eflop", "b200_s", "here_choice",
        "here_max_generated", "here_trials", "here_measured_s", "same_choice", "b200_choice_here_s", "penalty",
    )  # fmt: skip
    accuracy = timed.accuracy.mean(axis=0)
    highest = accuracy.max(initial=0.0)
    rows = []
    for level in np.linspace(0.1, 1.0, NUM_LEVELS) * highest if highest else ():
        able = np.flatnonzero(accuracy >= level - 1e-12)
        eflop, here_s = (timed.cost[axis].mean(axis=0)[able] for axis in (EFLOP, MEASURED))
        there, here = (timed.strategies[able[i]] for i in (eflop.argmin(), here_s.argmin()))
        least_s, there_s = float(here_s.min()), float(here_s[eflop.argmin()])
        rows.append((
            float(level), there.label, there.max_generated, there.trials, float(eflop.min()),
            float(eflop.min() / TERA_EFLOP_PER_B200_S), here.label, here.max_generated, here.trials,
            least_s, there.label == here.label, there_s, there_s / least_s,
        ))  # fmt: skip
    return Table(name="your_hardware", columns=columns, rows=tuple(rows))


def _each(frontiers: dict[str, list[Frontier[Strategy]]]) -> Iterator[tuple[str, Frontier[Strategy]]]:
    return ((axis, frontier) for axis, group in frontiers.items() for frontier in group)


def _describe(strategy: Strategy) -> tuple[Value, ...]:
    return (strategy.model, policy_label(strategy.policy), strategy.max_generated, strategy.trials)


def _known(cost: float) -> float | None:
    return float(cost) if np.isfinite(cost) else None
