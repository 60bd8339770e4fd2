"""A law report as tables: rows of plain values. What is in them is computed elsewhere.

Numbers are written with six digits so that files compare exactly between machines.
"""

from __future__ import annotations

from collections.abc import Iterator

from kinetics.law.fits import SpendingFit
from kinetics.law.reference_tables import reference_tables
from kinetics.law.report import LawReport, ModelResult, TaskResult
from kinetics.tables.table import Table, Value


def law_tables(report: LawReport) -> list[Table]:
    """Every table of a report; which there are depends on it."""
    tables = [_claims(report), _gains(report), _best_models(report), *reference_tables()]
    tables += [_fits(report.fits)] if report.fits else []
    tables += [_frontier(report, task) for task in report.tasks]
    tables += [_curves(task) for task in report.tasks if any(model.low is not None for model in task.models)]
    return tables


def _claims(report: LawReport) -> Table:
    rows = tuple(
        (c.claim.claim, c.claim.statement, c.claim.published, c.found, c.claim.unit, c.status.value, c.claim.source)
        for c in report.claims
    )
    return Table(name="claims", columns=("claim", "what", "published", "found", "unit", "verdict", "where"), rows=rows)


def _gains(report: LawReport) -> Table:
    columns = (
        "task", "attention", "cost_tera_eflop", "seconds", "largest_gain_points", "dense_maximum_accuracy",
        "cost_ratio_at_dense_maximum",
    )  # fmt: skip
    rows = tuple(
        (
            task.task, gain.kind.value, gain.cost, gain.cost / report.tera_eflop_per_s, gain.points,
            gain.dense_maximum, gain.cost_ratio,
        )
        for task in report.tasks
        for gain in task.gains
    )  # fmt: skip
    return Table(name="gains", columns=columns, rows=rows)


def _best_models(report: LawReport) -> Table:
    rows = tuple(
        (task.task, kind.value, switch.cost, switch.cost / report.tera_eflop_per_s, switch.model)
        for task in report.tasks
        for kind, switches in task.switches.items()
        for switch in switches
    )
    columns = ("task", "attention", "from_cost_tera_eflop", "from_seconds", "best_model")
    return Table(name="best_models", columns=columns, rows=rows)


def _frontier(report: LawReport, task: TaskResult) -> Table:
    cost = task.frontiers[0].cost
    columns: dict[str, list[Value]] = {
        "cost_tera_eflop": cost.tolist(),
        "seconds": (cost / report.tera_eflop_per_s).tolist(),
    }
    for frontier in task.frontiers:
        columns[f"{frontier.kind.value}_accuracy"] = frontier.accuracy.tolist()
        columns[f"{frontier.kind.value}_best_model"] = list(frontier.best_model)
    return _grid(f"frontier_{task.task}", columns)


def _curves(task: TaskResult) -> Table:
    columns = (
        "attention", "model", "lengths", "max_trials", "cost_tera_eflop", "oracle_accuracy", "low", "high",
        "half_oracle_accuracy", "held_out_accuracy", "uniform_accuracy",
    )  # fmt: skip
    rows = tuple(row for model in task.models for row in _curve_points(model))
    return Table(name=f"curves_{task.task}", columns=columns, rows=rows, prints_markdown=False)


def _curve_points(model: ModelResult) -> Iterator[tuple[Value, ...]]:
    lengths = "estimated" if model.has_estimated_lengths else "tokens"
    named = (model.curve.kind.value, model.curve.model, lengths, model.max_trials)
    optional = (model.low, model.high, model.half_oracle, model.held_out, model.uniform)
    for i, (cost, accuracy) in enumerate(zip(model.curve.cost, model.curve.accuracy, strict=True)):
        rest = (None if values is None else float(values[i]) for values in optional)
        yield (*named, float(cost), float(accuracy), *rest)


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


def _grid(name: str, columns: dict[str, list[Value]]) -> Table:
    """A long table from its columns."""
    rows = tuple(zip(*columns.values(), strict=True))
    return Table(name=name, columns=tuple(columns), rows=rows, prints_markdown=False)
