"""The figure of a set of logs: accuracy against B200 eFLOPs beside accuracy against seconds measured here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kinetics.accuracy_per_cost.frontiers import EFLOP, MEASURED, family_frontiers
from kinetics.accuracy_per_cost.options import Spending
from kinetics.law.plots import DASHES, model_colors, plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABELS = {EFLOP: "cost per question (1e12 eFLOP, B200 intensity)", MEASURED: "cost per question (measured seconds)"}


def plot_traces(options: Sequence[Spending], *, title: str, seed: int = 0) -> Figure:
    """Every option a dot in its model's colour, frontiers per attention family with 95 % bootstrap bands."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    colors = model_colors([option.model for option in options])
    for axes, cost_name in zip(panels, (EFLOP, MEASURED), strict=True):
        _draw_options(axes, options, cost_name, colors)
        _draw_frontiers(axes, options, cost_name, seed=seed)
        axes.set(xlabel=_LABELS[cost_name], xscale="log", ylim=(0, 1))
        axes.grid(visible=True, alpha=0.3)
    panels[0].set_ylabel("accuracy (solved by at least one trial)")
    panels[0].legend(fontsize=8, loc="upper left")
    figure.suptitle(plain_text(title), fontsize=10)
    return figure


def _draw_options(
    axes: Axes,
    options: Sequence[Spending],
    cost_name: str,
    colors: dict[str, tuple[float, float, float, float]],
) -> None:
    for model, color in colors.items():
        points = [(c, o.accuracy.mean()) for o in options if o.model == model and (c := o.cost[cost_name]) is not None]
        costs, accuracies = zip(*points, strict=True) if points else ((), ())
        axes.scatter(costs, accuracies, s=6, color=color, alpha=0.5, label=plain_text(model))


def _draw_frontiers(axes: Axes, options: Sequence[Spending], cost_name: str, *, seed: int) -> None:
    for frontier in family_frontiers(options, cost_name, seed=seed):
        dashes = DASHES[frontier.family.value]
        label = f"frontier, {frontier.family.value}"
        axes.plot(frontier.cost, frontier.accuracy, color="black", linestyle=dashes, linewidth=2, label=label)
        axes.fill_between(frontier.cost, frontier.low, frontier.high, color="black", alpha=0.1, linewidth=0)
