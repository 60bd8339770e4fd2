"""A law report as tables: rows of plain values. What is in them is computed elsewhere.

One's own results come first, the paper's claims after them. Numbers are written with six digits so that files compare
exactly between machines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from kinetics.law.answer import Answer
from kinetics.law.choices import Choices
from kinetics.law.fits import SpendingFit
from kinetics.law.intervals import Estimate, FloatArray, mean_interval
from kinetics.law.lengthening import Lengthening
from kinetics.law.reference_tables import reference_tables
from kinetics.law.report import LawReport, ModelResult, TaskResult
from kinetics.law.strategies import Strategy, StrategyTable
from kinetics.law.verdicts import CheckedClaim
from kinetics.tables.table import Table, Value

SECONDS_PER_HOUR: Final = 3600.0
STRATEGY_COLUMNS: Final = (
    "model", "attention", "lengths", "rule", "agree", "max_generated", "trials", "answers_right", "answers_cut_off",
    "answers_wrong",
)  # fmt: skip
"""A strategy, and how its single answers end, averaged over questions."""


def law_tables(report: LawReport) -> list[Table]:
    """Every table of a report; those about the paper only where its claims are judged."""
    tables = [_answer(report)] if report.answers else []
    tables += [_gains(report), _best_models(report)]
    if report.lengthenings:
        tables.append(lengthening_table(report.lengthenings))
    if report.strategies:
        tables.append(_strategies(report, report.strategies))
    tables += [_frontier(report, task) for task in report.tasks]
    tables += [_curves(task) for task in report.tasks if not task.is_oracle]
    tables += [_fits(report.fits)] if report.fits else []
    return [*tables, _claims(report.claims), *reference_tables()] if report.claims else tables


def lengths_label(*, are_estimated: bool) -> str:
    """What tables say of lengths."""
    return "estimated" if are_estimated else "tokens"


def strategy_values(strategy: Strategy | None) -> tuple[Value, ...]:
    """A strategy under `STRATEGY_COLUMNS`."""
    if strategy is None:
        return ("", "", "", "", *(None,) * (len(STRATEGY_COLUMNS) - 4))
    ends, lengths = strategy.outcomes, lengths_label(are_estimated=strategy.has_estimated_lengths)
    return (
        strategy.model, strategy.attention, lengths, strategy.rule.value, strategy.agree or None,
        strategy.max_generated, strategy.trials,
        *((ends.right, ends.cut_off, ends.wrong) if ends else (None,) * 3),
    )  # fmt: skip


def scores_of(table: StrategyTable, *, seed: int = 0) -> FloatArray:
    """Accuracy, both ends of its interval, and generated tokens of every strategy: [num_strategies, 4]."""
    interval = mean_interval(table.accuracy, seed=seed)
    return np.stack([table.accuracy.mean(axis=0), interval.low, interval.high, table.tokens.mean(axis=0)], axis=1)


def dollar_values(seconds: float, accuracy: float, dollars_per_hour: float | None) -> tuple[Value, ...]:
    """Dollars per question, and per right answer; nothing without a price of the hour."""
    if dollars_per_hour is None:
        return ()
    dollars = seconds / SECONDS_PER_HOUR * dollars_per_hour
    return (dollars, dollars / accuracy if accuracy > 0 else None)


def dollar_columns(dollars_per_hour: float | None) -> tuple[str, ...]:
    """The columns of `dollar_values`."""
    return () if dollars_per_hour is None else ("dollars", "dollars_per_right_answer")


def _answer(report: LawReport) -> Table:
    has_band = any(answer.choices.band for answer in report.answers)
    columns = (
        "if", "accuracy", "low", "high", "cost_tera_eflop", "seconds",
        *(("seconds_low", "seconds_high") if has_band else ()), *dollar_columns(report.dollars_per_hour),
        *STRATEGY_COLUMNS,
    )  # fmt: skip
    rows = tuple(_answer_row(report, answer, i) for answer in report.answers for i in answer.places())
    return Table(name="answer", columns=columns, rows=rows)


def _answer_row(report: LawReport, answer: Answer, place: int) -> tuple[Value, ...]:
    found, best = answer.choices, answer.choices.best[place]
    assert best is not None
    cost, accuracy = float(found.cost[place]), float(found.accuracy[place])
    seconds, band = cost / report.tera_eflop_per_s, found.band
    return (
        answer.who, accuracy, float(found.interval.low[place]), float(found.interval.high[place]), cost, seconds,
        *((seconds * float(band.low[place]), seconds * float(band.high[place])) if band else ()),
        *dollar_values(seconds, accuracy, report.dollars_per_hour), *strategy_values(best),
    )  # fmt: skip


def _gains(report: LawReport) -> Table:
    columns = (
        "task", "attention", "lengths", "cost_tera_eflop", "seconds", "largest_gain_points", "gain_low", "gain_high",
        "dense_maximum_accuracy", "cost_ratio_at_dense_maximum", "ratio_low", "ratio_high", "oracle_cost_tera_eflop",
        "oracle_seconds", "oracle_gain_points", "oracle_dense_maximum", "oracle_cost_ratio",
    )  # fmt: skip
    rows = []
    for task in report.tasks:
        lengths = lengths_label(are_estimated=any(model.model in report.estimated_models for model in task.models))
        for gain in task.gains:
            lead, oracle = gain.lead, gain.oracle
            own = _lead_values(report, lead.cost, lead.points) if lead else (None,) * 5
            ratio = ratio_values(lead.cost_ratio, gain.dense_maximum) if lead else (None,) * 3
            rows.append((
                task.task, gain.kind.value, lengths, *own, gain.dense_maximum if lead else None, *ratio,
                *((oracle.cost, oracle.cost / report.tera_eflop_per_s, oracle.points, oracle.dense_maximum,
                   ratio_or_none(oracle.cost_ratio, oracle.dense_maximum)) if oracle else (None,) * 5),
            ))  # fmt: skip
    return Table(name="gains", columns=columns, rows=tuple(rows))


def _lead_values(report: LawReport, cost: float, points: Estimate) -> tuple[Value, ...]:
    return (cost, cost / report.tera_eflop_per_s, *_estimate(points))


def _estimate(estimate: Estimate | None) -> tuple[Value, ...]:
    """Value and interval; an interval that is everything has no ends."""
    if estimate is None or not math.isfinite(estimate.value):
        return (None,) * 3
    ends = (estimate.low, estimate.high)
    return (estimate.value, *(ends if all(map(math.isfinite, ends)) else (None, None)))


def ratio_or_none(ratio: float, dense_maximum: float) -> float | None:
    """Costs at the highest accuracy of dense attention; None if that is 0, or sparse attention never gets there."""
    return ratio if ratio > 0 and dense_maximum > 0 and math.isfinite(ratio) else None


def ratio_values(ratio: Estimate, dense_maximum: float) -> tuple[Value, ...]:
    """Such a ratio with its interval; nothing where there is none."""
    return (None,) * 3 if ratio_or_none(ratio.value, dense_maximum) is None else _estimate(ratio)


def _best_models(report: LawReport) -> Table:
    columns = (
        "task", "attention", "chosen_by", "from_cost_tera_eflop", "from_seconds", "best_model", "accuracy",
        "lengths", "from_cost_low", "from_cost_high", "level_with",
    )  # fmt: skip
    rows = tuple(
        (
            task.task, kind.value, "oracle" if task.is_oracle else "one choice for all", switch.cost,
            switch.cost / report.tera_eflop_per_s, switch.model, switch.accuracy,
            lengths_label(are_estimated=switch.model in report.estimated_models), switch.low, switch.high,
            ", ".join(switch.level_with),
        )
        for task in report.tasks
        for kind, switches in task.switches.items()
        for switch in switches
    )  # fmt: skip
    return Table(name="best_models", columns=columns, rows=rows)


def _strategies(report: LawReport, table: StrategyTable) -> Table:
    columns = (
        *STRATEGY_COLUMNS, "accuracy", "low", "high", "generated_tokens", "cost_tera_eflop", "seconds",
        *dollar_columns(report.dollars_per_hour),
    )  # fmt: skip
    (law, *_) = table.cost
    cost = table.cost[law].mean(axis=0)
    rows = tuple(
        (
            *strategy_values(strategy), *scores.tolist(), float(cost[i]), float(cost[i] / report.tera_eflop_per_s),
            *dollar_values(cost[i] / report.tera_eflop_per_s, scores[0], report.dollars_per_hour),
        )
        for i, (strategy, scores) in enumerate(zip(table.strategies, scores_of(table), strict=True))
    )  # fmt: skip
    return Table(name="strategies", columns=columns, rows=rows, prints_markdown=False)


def lengthening_table(found: Sequence[Lengthening]) -> Table:
    """Sparse over dense: cost as cost per token times tokens, accuracy, and how answers ended."""
    ratios = ("cost", "cost_per_token", "tokens", "gain_points", "tokens_to_first_right")
    shares = ("right", "cut_off", "wrong")
    columns = (
        "model", "attention", "cost_in", "lengths",
        *(f"{name}{end}" for name in ratios for end in ("", "_low", "_high")),
        "questions_solved_by_both", *(f"{side}_{name}" for side in ("dense", "sparse") for name in shares),
    )  # fmt: skip
    rows = tuple(
        (
            one.model, one.attention, one.cost_name or "tera_eflop",
            lengths_label(are_estimated=one.has_estimated_lengths),
            *_estimate(one.cost), *_estimate(one.cost_per_token), *_estimate(one.tokens), *_estimate(one.gain_points),
            *_estimate(one.tokens_to_right), one.num_solved,
            *(value for side in (one.dense, one.sparse) for value in (side.right, side.cut_off, side.wrong)),
        )
        for one in found
    )  # fmt: skip
    return Table(name="lengthening", columns=columns, rows=rows)


def _frontier(report: LawReport, task: TaskResult) -> Table:
    cost = (task.choices or task.oracle)[0].cost
    columns: dict[str, Sequence[Value]] = {
        "cost_tera_eflop": cost.tolist(),
        "seconds": (cost / report.tera_eflop_per_s).tolist(),
    }
    for found in task.choices:
        columns |= _choice_columns(report, found)
    for oracle in task.oracle:
        columns[f"{oracle.kind.value}_oracle_accuracy"] = oracle.accuracy.tolist()
        columns[f"{oracle.kind.value}_oracle_best_model"] = oracle.best_model
        if not task.is_oracle:
            columns[f"{oracle.kind.value}_oracle_lengths"] = [
                lengths_label(are_estimated=model in report.estimated_models) for model in oracle.best_model
            ]
    rows = tuple(zip(*columns.values(), strict=True))
    return Table(name=f"frontier_{task.task}", columns=tuple(columns), rows=rows, prints_markdown=False)


def _choice_columns(report: LawReport, found: Choices) -> dict[str, Sequence[Value]]:
    interval, kind = found.interval, found.kind.value
    described = list(zip(*map(strategy_values, found.best), strict=True))
    return {
        f"{kind}_accuracy": found.accuracy.tolist(),
        f"{kind}_low": interval.low.tolist(),
        f"{kind}_high": interval.high.tolist(),
        f"{kind}_best_model": found.best_model,
        **{f"{kind}_{name}": described[i] for i, name in enumerate(STRATEGY_COLUMNS) if i},
        **_band_columns(report, found),
    }


def _band_columns(report: LawReport, found: Choices) -> dict[str, Sequence[Value]]:
    """Between which seconds the strategy named may really lie: the named one's own, at both ends of its band."""
    if found.band is None:
        return {}
    kind, seconds = found.kind.value, found.cost / report.tera_eflop_per_s
    ends = {"low": found.band.low, "high": found.band.high}
    return {f"{kind}_seconds_{name}": (seconds * share).tolist() for name, share in ends.items()}


def _curves(task: TaskResult) -> Table:
    columns = (
        "attention", "model", "lengths", "cut_off", "max_trials", "cost_tera_eflop", "accuracy", "low", "high",
        "uniform_accuracy", "oracle_accuracy", "half_oracle_accuracy", "held_out_accuracy",
    )  # fmt: skip
    rows = tuple(row for model in task.models for row in _curve_points(model))
    return Table(name=f"curves_{task.task}", columns=columns, rows=rows, prints_markdown=False)


def _curve_points(model: ModelResult) -> Iterator[tuple[Value, ...]]:
    assert model.choices is not None
    assert model.facts is not None
    chosen, interval, facts = model.choices, model.choices.interval, model.facts
    lengths = lengths_label(are_estimated=facts.has_estimated_lengths)
    named = (model.kind.value, model.model, lengths, facts.cut_off, facts.max_trials)
    oracle = model.oracle.accuracy if model.oracle else None
    series = (
        chosen.cost, chosen.accuracy, interval.low, interval.high, chosen.chosen_accuracy, oracle, model.half_oracle,
        model.held_out,
    )  # fmt: skip
    for i in range(chosen.cost.size):
        yield (*named, *(None if values is None else float(values[i]) for values in series))


def _fits(fits: tuple[SpendingFit, ...]) -> Table:
    columns = (
        "model", "task", "costs", "tokens_scale", "tokens_exponent", "kv_budget_scale", "kv_budget_exponent",
        "kv_budget_offset",
    )  # fmt: skip
    rows = tuple(
        (
            fit.model, fit.task, fit.num_costs, fit.tokens.scale, fit.tokens.exponent, fit.kv_budget.scale,
            fit.kv_budget.exponent, fit.kv_budget.offset,
        )
        for fit in fits
    )  # fmt: skip
    return Table(name="fits", columns=columns, rows=rows)


def _claims(claims: Sequence[CheckedClaim]) -> Table:
    columns = ("claim", "what", "published", "found", "unit", "verdict", "rule", "judged_by", "caveat", "where")
    rows = tuple(
        (
            c.claim.claim, c.claim.statement, c.claim.published, c.found, c.claim.unit, c.status.value, c.rule,
            c.data.value, c.caveat, c.claim.source,
        )
        for c in claims
    )  # fmt: skip
    return Table(name="claims", columns=columns, rows=rows)
