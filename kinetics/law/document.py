"""A law report as one JSON document: plain types, units in the keys; and what a run of the law comes to.

`accuracy` and `best_model` of a frontier are those of one choice for all questions, cross-validated, where samples gave
them, else the oracle's: `chosen_by` says which.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from kinetics.law.choices import Choices
from kinetics.law.frontier import Curve, Frontier, Switch
from kinetics.law.report import Gain, LawReport, ModelResult, TaskResult
from kinetics.law.tables import lengths_label, ratio_or_none, ratio_values, strategy_values

SCHEMA = 1


def law_document(report: LawReport) -> dict[str, Any]:
    """Source, pricing, tasks with curves, frontiers, switch points and gains, and every checked claim."""
    return {
        "schema": SCHEMA,
        "source": report.source,
        "pricing": report.pricing,
        "device": report.device,
        "tera_eflop_per_s": report.tera_eflop_per_s,
        "notes": list(report.notes),
        "tasks": [_task(report, task) for task in report.tasks],
        "claims": [
            {
                "claim": checked.claim.claim,
                "key": checked.claim.key,
                "statement": checked.claim.statement,
                "published": checked.claim.published,
                "found": checked.found,
                "rule": checked.rule,
                "tolerance": checked.claim.tolerance,
                "judged_by": checked.data.value,
                "caveat": checked.caveat,
                "unit": checked.claim.unit,
                "status": checked.status.value,
                "has_changed": checked.has_changed,
                "source": checked.claim.source,
            }
            for checked in report.claims
        ],
    }


def _task(report: LawReport, task: TaskResult) -> dict[str, Any]:
    oracle = {found.kind: found for found in task.oracle}
    frontiers = task.choices or task.oracle
    return {
        "task": task.task,
        "curves": [_curve(model) for model in task.models],
        "frontiers": [_frontier(report, found, oracle.get(found.kind)) for found in frontiers],
        "switch_points": [
            _switch(kind.value, switch) for kind, switches in task.switches.items() for switch in switches
        ],
        "gains": [_gain(report, gain) for gain in task.gains],
    }


def _frontier(report: LawReport, found: Choices | Frontier[Curve], oracle: Frontier[Curve] | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "attention": found.kind.value,
        "chosen_by": "oracle",
        "cost_tera_eflop": found.cost.tolist(),
        "seconds": (found.cost / report.tera_eflop_per_s).tolist(),
        "accuracy": found.accuracy.tolist(),
        "best_model": list(found.best_model),
    }
    if isinstance(found, Choices):
        interval = found.interval
        lengths = [lengths_label(are_estimated=name in report.estimated_models) for name in found.best_model]
        document |= {
            "chosen_by": "one choice for all questions",
            "low": interval.low.tolist(),
            "high": interval.high.tolist(),
            "uniform_accuracy": found.chosen_accuracy.tolist(),
            "strategy": [list(strategy_values(best)) for best in found.best],
            "lengths": lengths,
        }
    if oracle is not None:
        document |= {
            "oracle_accuracy": oracle.accuracy.tolist(),
            "oracle_best_model": list(oracle.best_model),
        }
    return document


def _switch(attention: str, switch: Switch) -> dict[str, Any]:
    return {
        "attention": attention,
        "from_cost_tera_eflop": switch.cost,
        "best_model": switch.model,
        "accuracy": switch.accuracy,
        "from_cost_low": switch.low,
        "from_cost_high": switch.high,
        "level_with": list(switch.level_with),
    }


def _gain(report: LawReport, gain: Gain) -> dict[str, Any]:
    document: dict[str, Any] = {"attention": gain.kind.value, "dense_maximum_accuracy": gain.dense_maximum}
    if gain.lead:
        document |= {
            "cost_tera_eflop": gain.lead.cost,
            "seconds": gain.lead.cost / report.tera_eflop_per_s,
            "gain_points": asdict(gain.lead.points),
            "cost_ratio": dict(
                zip(("value", "low", "high"), ratio_values(gain.lead.cost_ratio, gain.dense_maximum), strict=True)
            ),
        }
    if gain.oracle:
        document["oracle"] = {
            "cost_tera_eflop": gain.oracle.cost,
            "seconds": gain.oracle.cost / report.tera_eflop_per_s,
            "largest_gain_points": gain.oracle.points,
            "dense_maximum_accuracy": gain.oracle.dense_maximum,
            "cost_ratio_at_dense_maximum": ratio_or_none(gain.oracle.cost_ratio, gain.oracle.dense_maximum),
            "cost_ratio_on_grid": ratio_or_none(gain.oracle.cost_ratio_on_grid, gain.oracle.dense_maximum),
        }
    return document


def _curve(model: ModelResult) -> dict[str, Any]:
    document: dict[str, Any] = {"attention": model.kind.value, "model": model.model}
    if model.facts:
        document |= {
            "lengths": lengths_label(are_estimated=model.facts.has_estimated_lengths),
            "cut_off": model.facts.cut_off,
            "max_trials": model.facts.max_trials,
        }
    if model.choices:
        interval = model.choices.interval
        document |= {
            "cost_tera_eflop": model.choices.cost.tolist(),
            "accuracy": model.choices.accuracy.tolist(),
            "low": interval.low.tolist(),
            "high": interval.high.tolist(),
            "uniform_accuracy": model.choices.chosen_accuracy.tolist(),
        }
    if model.oracle:
        document |= {"cost_tera_eflop": model.oracle.cost.tolist(), "oracle_accuracy": model.oracle.accuracy.tolist()}
    halves = {"half_oracle_accuracy": model.half_oracle, "held_out_accuracy": model.held_out}
    return document | {name: values.tolist() for name, values in halves.items() if values is not None}
