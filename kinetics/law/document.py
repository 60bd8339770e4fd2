"""A law report as one JSON document: plain types, units in the keys; and what a run of the law comes to."""

from typing import Any

from kinetics.law.report import LawReport, ModelResult, TaskResult

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
                "tolerance": checked.claim.tolerance,
                "unit": checked.claim.unit,
                "status": checked.status.value,
                "has_changed": checked.has_changed,
                "source": checked.claim.source,
            }
            for checked in report.claims
        ],
    }


def _task(report: LawReport, task: TaskResult) -> dict[str, Any]:
    return {
        "task": task.task,
        "curves": [_curve(model) for model in task.models],
        "frontiers": [
            {
                "attention": frontier.kind.value,
                "cost_tera_eflop": frontier.cost.tolist(),
                "seconds": (frontier.cost / report.tera_eflop_per_s).tolist(),
                "accuracy": frontier.accuracy.tolist(),
                "best_model": list(frontier.best_model),
            }
            for frontier in task.frontiers
        ],
        "switch_points": [
            {"attention": kind.value, "from_cost_tera_eflop": switch.cost, "best_model": switch.model}
            for kind, switches in task.switches.items()
            for switch in switches
        ],
        "gains": [
            {
                "attention": gain.kind.value,
                "cost_tera_eflop": gain.cost,
                "seconds": gain.cost / report.tera_eflop_per_s,
                "largest_gain_points": gain.points,
                "dense_maximum_accuracy": gain.dense_maximum,
                "cost_ratio_at_dense_maximum": gain.cost_ratio,
                "cost_ratio_on_grid": gain.cost_ratio_on_grid,
            }
            for gain in task.gains
        ],
    }


def _curve(model: ModelResult) -> dict[str, Any]:
    arrays = {
        "accuracy": model.curve.accuracy,
        "low": model.low,
        "high": model.high,
        "half_oracle_accuracy": model.half_oracle,
        "held_out_accuracy": model.held_out,
        "uniform_accuracy": model.uniform,
    }
    return {
        "attention": model.curve.kind.value,
        "model": model.curve.model,
        "lengths": "estimated" if model.has_estimated_lengths else "tokens",
        "max_trials": model.max_trials,
        "cost_tera_eflop": model.curve.cost.tolist(),
    } | {name: values.tolist() for name, values in arrays.items() if values is not None}
