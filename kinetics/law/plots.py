"""Figures of records: each function takes results and returns a matplotlib Figure; nothing is shown or measured here.

matplotlib is imported when a figure is made, so that everything else works without it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinetics.law.allocation import StrategyTable, uniform_frontiers
from kinetics.law.frontier import Curve, Frontier, switch_points
from kinetics.law.measured_costs import EFLOP, MEASURED
from kinetics.law.report import LawReport, TaskResult
from kinetics.specs.policies import PolicyKind

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TASK_TITLES = {"long_cot": "Long chain of thought", "best_of_n": "Best of N"}
DASHES: dict[PolicyKind, Any] = dict.fromkeys(PolicyKind, (0, (3, 1, 1, 1)))
DASHES |= {PolicyKind.DENSE: "--", PolicyKind.TOPK: "-", PolicyKind.BLOCK_TOPK: "-.", PolicyKind.LOCAL: ":"}


def is_plotting_possible() -> bool:
    """Whether matplotlib is installed."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def plot_task(report: LawReport, task: TaskResult) -> Figure:
    """Accuracy against cost of every model, thin, and of the frontiers, thick; below, which model is best where.

    One colour is one model in all of it. Bands are 95 % bootstrap intervals over questions, where samples gave them.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(5, max(1, len(task.frontiers))))
    colors = model_colors([model.curve.model for model in task.models])
    _draw_curves(upper, task, colors)
    _draw_best_models(lower, task.frontiers, colors)
    title = _TASK_TITLES.get(task.task, task.task.replace("_", " "))
    figure.suptitle(plain_text(f"{title}: {report.source}"), fontsize=10)
    grid = task.frontiers[0].cost
    upper.set(ylabel="accuracy", xscale="log", xlim=(grid[0], grid[-1]), ylim=(0, 1))
    lower.set_xlabel("cost per question, at most (1e12 eFLOP)")
    seconds = upper.secondary_xaxis(
        "top", functions=(lambda cost: cost / report.tera_eflop_per_s, lambda s: s * report.tera_eflop_per_s)
    )
    seconds.set_xlabel(plain_text(f"seconds on {report.device}"))
    return figure


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and SVG, each at once; the same figure gives the same bytes.

    Raises: ValueError naming the folder if it cannot be written.
    """
    import matplotlib as mpl

    written = []
    for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        staged = folder / f".{name}.{os.getpid()}.{suffix}"
        try:
            with mpl.rc_context({"svg.hashsalt": name}):
                figure.savefig(staged, metadata=metadata, dpi=130)
            written.append(staged.replace(folder / f"{name}.{suffix}"))
        except OSError as error:
            raise ValueError(f"output folder {folder} cannot be written ({error.strerror}); choose another") from error
    return written


def plain_text(text: str) -> str:
    """Text in which dollars do not start a formula: names of models and files come from outside."""
    return text.replace("$", r"\$")


def model_colors(models: Sequence[str]) -> dict[str, tuple[float, float, float, float]]:
    """One colour a model, small models light."""
    from matplotlib import colormaps

    names = list(dict.fromkeys(models))
    spread = max(1, len(names) - 1)
    return {name: colormaps["viridis_r"](0.1 + 0.9 * i / spread) for i, name in enumerate(names)}


def _draw_curves(axes: Axes, task: TaskResult, colors: dict[str, tuple[float, float, float, float]]) -> None:
    for model in task.models:
        curve = model.curve
        color, dashes = colors[curve.model], DASHES[curve.kind]
        label = plain_text(curve.model) if curve.kind is task.models[0].curve.kind else None
        axes.plot(curve.cost, curve.accuracy, color=color, linestyle=dashes, linewidth=1, label=label)
        if model.low is not None and model.high is not None:
            axes.fill_between(curve.cost, model.low, model.high, color=color, alpha=0.08, linewidth=0)
    for frontier in task.frontiers:
        dashes = DASHES[frontier.kind]
        label = f"frontier, {frontier.kind.value}"
        axes.plot(frontier.cost, frontier.accuracy, color="black", linestyle=dashes, linewidth=2.2, label=label)
    axes.legend(fontsize=8, loc="upper left")
    axes.grid(visible=True, alpha=0.3)


def _draw_best_models(
    axes: Axes, frontiers: Sequence[Frontier[Curve]], colors: dict[str, tuple[float, float, float, float]]
) -> None:
    for row, frontier in enumerate(frontiers):
        switches = switch_points(frontier)
        ends = [*(switch.cost for switch in switches[1:]), float(frontier.cost[-1])]
        for switch, end in zip(switches, ends, strict=True):
            axes.barh(row, end - switch.cost, left=switch.cost, height=0.8, color=colors[switch.model], linewidth=0)
    axes.set_yticks(range(len(frontiers)), [frontier.kind.value for frontier in frontiers])
    axes.set_ylabel("best model")


_LABELS = {EFLOP: "cost per question (1e12 eFLOP, B200 intensity)", MEASURED: "cost per question (measured seconds)"}


def plot_strategies(table: StrategyTable, *, title: str, seed: int = 0) -> Figure:
    """Every strategy a dot in its model's colour, frontiers per kind of attention with 95 % bootstrap bands."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    colors = model_colors([strategy.model for strategy in table.strategies])
    for axes, cost_name in zip(panels, (EFLOP, MEASURED), strict=True):
        _draw_strategies(axes, table.priced(cost_name), cost_name, colors)
        _draw_frontiers(axes, table, cost_name, seed=seed)
        axes.set(xlabel=_LABELS[cost_name], xscale="log", ylim=(0, 1))
        axes.grid(visible=True, alpha=0.3)
    panels[0].set_ylabel("accuracy (solved by at least one trial)")
    panels[0].legend(fontsize=8, loc="upper left")
    figure.suptitle(plain_text(title), fontsize=10)
    return figure


def _draw_strategies(
    axes: Axes, priced: StrategyTable, cost_name: str, colors: dict[str, tuple[float, float, float, float]]
) -> None:
    for model, color in colors.items():
        own = priced.only(lambda strategy, model=model: strategy.model == model)  # type: ignore[misc]
        costs = own.cost[cost_name].mean(axis=0) if own.strategies else []
        accuracies = own.accuracy.mean(axis=0) if own.strategies else []
        axes.scatter(costs, accuracies, s=6, color=color, alpha=0.5, label=plain_text(model))


def _draw_frontiers(axes: Axes, table: StrategyTable, cost_name: str, *, seed: int) -> None:
    for frontier in uniform_frontiers(table, cost_name, seed=seed):
        label = f"frontier, {frontier.kind.value}"
        low, high = frontier.quantile(2.5), frontier.quantile(97.5)
        dashes = DASHES[frontier.kind]
        axes.plot(frontier.cost, frontier.accuracy, color="black", linestyle=dashes, linewidth=2, label=label)
        axes.fill_between(frontier.cost, low, high, color="black", alpha=0.1, linewidth=0)
