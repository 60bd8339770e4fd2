"""The law from logs of one's own: every strategy that they answer exactly, on several cost axes, and the tables of it.

One choice is made for all questions, so no accuracy here knows the answers. "The paper on your hardware" sets the
cheapest strategy by the paper's B200 eFLOPs beside the cheapest by seconds here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from kinetics.cost.published import TERA_EFLOP_PER_B200_S, TRIALS
from kinetics.law.choices import Choices, choices_by_kind, cost_grid, lead_over_dense
from kinetics.law.claims import BEST_OF_N, LONG_COT
from kinetics.law.intervals import difference_interval
from kinetics.law.lengthening import Lengthening, compare_lengths
from kinetics.law.log_ceilings import ceilings_by_label, ceilings_of_devices
from kinetics.law.measured_costs import EFLOP, JOULES, LOG_COSTS, MEASURED, PREDICTED, MeasuredDevice, log_cost_models
from kinetics.law.strategies import (
    CostModelsOf,
    Rule,
    StrategyTable,
    equal_caps,
    has_votes,
    join,
    tabulate,
    tabulate_votes,
)
from kinetics.law.tables import (
    STRATEGY_COLUMNS,
    dollar_columns,
    dollar_values,
    lengthening_table,
    lengths_label,
    ratio_or_none,
    scores_of,
    strategy_values,
)
from kinetics.samples.log_reader import TraceFile
from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import PolicyKind
from kinetics.tables.table import Table, Value

AXES: Final = (EFLOP, PREDICTED, MEASURED, JOULES)
"""What frontiers are drawn over; logs without a cost of that name have none there."""
NUM_LEVELS: Final = 10
"""Accuracy levels of the hardware table: tenths of the highest accuracy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One log with the shape of its model."""

    file: TraceFile
    spec: ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """Sparse choices against dense ones, at the costs where dense lies between 20 and 90 % of its maximum.

    `num_below`: costs at which sparse is less accurate; `num_clearly_below`: with the whole 95 % interval of the
    paired difference. Gains are None where no cost compares, `cost_ratio_at_dense_maximum` where sparse never gets
    there or dense solves nothing.
    """

    kind: PolicyKind
    num_costs: int
    num_below: int
    num_clearly_below: int
    smallest_gain: float | None
    largest_gain: float | None
    cost_ratio_at_dense_maximum: float | None
    has_estimated_lengths: bool


def tabulate_logs(logs: Sequence[Log], cost_models_of: CostModelsOf, *, seed: int = 0) -> StrategyTable:
    """Every strategy of every log: model x policy x length cap x answers, and voting. All logs share questions.

    Raises: ValueError if they do not.
    """
    files = {log.file.samples.label: log.file for log in logs}
    sets = [log.file.samples for log in logs]
    passing = tabulate(
        sets,
        trials=TRIALS,
        caps_of=lambda samples: caps_of(files[samples.label]),
        cost_models_of=cost_models_of,
    )
    voting = [samples for samples in sets if has_votes(samples)]
    if not voting:
        return passing
    return join([passing, tabulate_votes(voting, trials=TRIALS, cost_models_of=cost_models_of, seed=seed)])


def cost_models_of_logs(logs: Sequence[Log], *, batch: int = 0, device: MeasuredDevice | None = None) -> CostModelsOf:
    """The cost models that each log has evidence for; logs of one device are priced by the same ceilings."""
    ceilings = ceilings_by_label(ceilings_of_devices([log.file for log in logs]))
    models = {
        label: log_cost_models(
            log.file.header, log.spec, log.file.usages, batch=batch, device=device, ceilings=ceilings.get(label)
        )
        for log in logs
        for label in [log.file.samples.label]
    }
    return lambda samples: models[samples.label]


def caps_of(file: TraceFile) -> list[int]:
    """Length caps in equal steps up to the run's own, or up to the longest answer where the file names none."""
    longest = max(length for question in file.samples.questions for length in question.lengths)
    return equal_caps(file.header.max_new_tokens or longest)


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


def choices_on(table: StrategyTable, axis: str, *, seed: int = 0) -> list[Choices]:
    """The choices per kind of attention on one cost axis; empty if no strategy has that cost."""
    priced = table.priced(axis)
    if not priced.strategies:
        return []
    return choices_by_kind(priced, axis, cost_grid(priced.cost[axis].mean(axis=0)), seed=seed)


def compare_with_dense(found: Sequence[Choices]) -> list[Comparison]:
    """All sparse choices against the dense ones; empty without dense."""
    dense = next((choices for choices in found if choices.kind is PolicyKind.DENSE), None)
    return [_compare(dense, choices) for choices in found if choices is not dense] if dense else []


def _compare(dense: Choices, sparse: Choices) -> Comparison:
    highest = dense.accuracy.max()
    is_between = (highest > 0) & (dense.accuracy >= 0.2 * highest) & (dense.accuracy <= 0.9 * highest)
    gain = (sparse.accuracy - dense.accuracy)[is_between]
    interval = difference_interval(sparse.per_question - dense.per_question, seed=dense.seed)
    return Comparison(
        kind=sparse.kind,
        num_costs=int(is_between.sum()),
        num_below=int((gain < 0).sum()),
        num_clearly_below=int((interval.high < 0)[is_between].sum()),
        smallest_gain=float(gain.min()) if gain.size else None,
        largest_gain=float(gain.max()) if gain.size else None,
        cost_ratio_at_dense_maximum=ratio_or_none(lead_over_dense(dense, sparse).cost_ratio.value, float(highest)),
        has_estimated_lengths=any(best.has_estimated_lengths for best in (*dense.best, *sparse.best) if best),
    )


def log_tables(
    logs: Sequence[Log],
    table: StrategyTable,
    cost_models_of: CostModelsOf,
    *,
    seed: int = 0,
    dollars_per_hour: float | None = None,
) -> list[Table]:
    """All tables of a set of logs; `table`: their strategies, voting and not."""
    passing = table.of_rule(Rule.PASS)
    by_rule = {
        axis: [choices for rule in Rule for choices in choices_on(table.of_rule(rule), axis, seed=seed)]
        for axis in AXES
    }
    lengthenings = lengthenings_of(logs, cost_models_of, seed=seed)
    return [
        strategy_table(table, dollars_per_hour),
        frontier_table(by_rule),
        comparison_table(passing, seed=seed),
        change_table({axis: choices_on(passing, axis, seed=seed) for axis in AXES}),
        hardware_table(passing.priced(MEASURED)),
        *([lengthening_table(lengthenings)] if lengthenings else []),
    ]


def lengthenings_of(logs: Sequence[Log], cost_models_of: CostModelsOf, *, seed: int = 0) -> list[Lengthening]:
    """Every sparse log against the dense one of its model, in eFLOP and in measured seconds."""
    sets = [log.file.samples for log in logs]
    return [one for axis in (EFLOP, MEASURED) for one in compare_lengths(sets, cost_models_of, axis, seed=seed)]


def strategy_table(table: StrategyTable, dollars_per_hour: float | None = None) -> Table:
    """Every strategy with its accuracy and costs; dollars are those of measured seconds."""
    columns = (
        *STRATEGY_COLUMNS, "accuracy", "low", "high", "generated_tokens", *LOG_COSTS,
        *dollar_columns(dollars_per_hour),
    )  # fmt: skip
    unknown = np.full(len(table.strategies), np.nan)
    costs = {name: table.cost[name].mean(axis=0) if name in table.cost else unknown for name in LOG_COSTS}
    rows = tuple(
        (
            *strategy_values(strategy), *scores.tolist(), *(_known(cost[i]) for cost in costs.values()),
            *map(_known, dollar_values(costs[MEASURED][i], scores[0], dollars_per_hour)),
        )
        for i, (strategy, scores) in enumerate(zip(table.strategies, scores_of(table), strict=True))
    )  # fmt: skip
    return Table(name="accuracy_per_cost", columns=columns, rows=rows, prints_markdown=False)


def frontier_table(found: Mapping[str, Sequence[Choices]]) -> Table:
    """The best strategy within each cost, on every axis."""
    columns = ("axis", "family", "cost", "accuracy", "low", "high", *STRATEGY_COLUMNS)
    rows: list[tuple[Value, ...]] = []
    for axis, choices in _each(found):
        interval = choices.interval
        points = np.stack([choices.cost, choices.accuracy, interval.low, interval.high], axis=1)
        rows += [
            (axis, choices.kind.value, *point, *strategy_values(best))
            for point, best in zip(points.tolist(), choices.best, strict=True)
        ]
    return Table(name="trace_frontiers", columns=columns, rows=tuple(rows), prints_markdown=False)


def comparison_table(table: StrategyTable, *, seed: int = 0) -> Table:
    """Sparse against dense for each of the paper's tasks, on every axis."""
    columns = (
        "task", "axis", "family", "lengths", "costs_compared", "sparse_below", "clearly_below", "smallest_gain_points",
        "largest_gain_points", "cost_ratio_at_dense_maximum",
    )  # fmt: skip
    rows = tuple(
        (
            task, axis, c.kind.value, lengths_label(are_estimated=c.has_estimated_lengths),
            c.num_costs, *((c.num_below, c.num_clearly_below) if c.num_costs else (None, None)),
            in_points(c.smallest_gain), in_points(c.largest_gain), c.cost_ratio_at_dense_maximum,
        )
        for task in (LONG_COT, BEST_OF_N)
        for axis in AXES
        for c in compare_with_dense(choices_on(of_task(task, table), axis, seed=seed))
    )  # fmt: skip
    return Table(name="sparse_against_dense", columns=columns, rows=rows)


def in_points(gain: float | None) -> float | None:
    """A gain in accuracy as percentage points."""
    return None if gain is None else 100 * gain


def change_table(found: Mapping[str, Sequence[Choices]]) -> Table:
    """Where along each frontier the best model or KV budget changes."""
    rows: list[tuple[Value, ...]] = []
    for axis, choices in _each(found):
        previous = ""
        for cost, accuracy, best in zip(choices.cost, choices.chosen_accuracy, choices.best, strict=True):
            if best is not None and best.label != previous and accuracy > 0:
                previous = best.label
                lengths = lengths_label(are_estimated=best.has_estimated_lengths)
                found_at = (axis, choices.kind.value, float(cost), float(accuracy))
                rows.append((*found_at, best.model, best.attention, lengths))
    columns = ("axis", "family", "from_cost", "accuracy", "model", "attention", "lengths")
    return Table(name="choice_changes", columns=columns, rows=tuple(rows))


def hardware_table(timed: StrategyTable) -> Table:
    """The cheapest choice for each accuracy, by B200 eFLOPs and by seconds here, and what the first costs here."""
    columns = (
        "accuracy", "b200_choice", "b200_max_generated", "b200_trials", "b200_tera_eflop", "b200_s", "here_choice",
        "here_max_generated", "here_trials", "here_measured_s", "same_choice", "b200_choice_here_s", "penalty",
        "lengths",
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
            lengths_label(are_estimated=there.has_estimated_lengths or here.has_estimated_lengths),
        ))  # fmt: skip
    return Table(name="your_hardware", columns=columns, rows=tuple(rows))


def _each(found: Mapping[str, Sequence[Choices]]) -> Iterator[tuple[str, Choices]]:
    return ((axis, choices) for axis, group in found.items() for choices in group)


def _known(value: Value) -> float | None:
    return float(value) if isinstance(value, float) and np.isfinite(value) else None
