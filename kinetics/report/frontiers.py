"""Accuracy against seconds: what the best choice of model and budget buys, dense and sparse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from kinetics.report.sources import LawTask
from kinetics.report.style import color_of, hover, log_axis, new_figure, safe
from kinetics.units import format_seconds

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_DASHES: Final = {"dense": "dash", "topk": "solid", "block_topk": "solid", "local": "dot"}


def draw_frontiers(task: LawTask) -> Figure:
    """One line per attention family; hovering says which model is best there, marks say where that changes."""
    figure = new_figure(
        x=log_axis(
            safe(f"seconds per question, at most, on {task.device}"), [s for line in task.lines for s in line.seconds]
        ),
        y={"title": "accuracy (%)", "rangemode": "tozero"},
    )
    for index, line in enumerate(task.lines):
        texts = [
            hover([f"{model}, {line.attention}", f"{100 * accuracy:.1f} % for {format_seconds(seconds)}"])
            for model, accuracy, seconds in zip(line.best_model, line.accuracy, line.seconds, strict=True)
        ]
        figure.add_scatter(
            x=list(line.seconds),
            y=[100 * accuracy for accuracy in line.accuracy],
            text=texts,
            hoverinfo="text",
            mode="lines+markers",
            line={"color": color_of(index), "width": 2.5, "dash": _DASHES.get(line.attention, "solid")},
            marker={"size": _switch_sizes(line.best_model), "color": color_of(index)},
            name=safe(line.attention),
        )
    return figure


def _switch_sizes(models: Sequence[str]) -> list[int]:
    """A visible mark where another model becomes the best one, none elsewhere."""
    return [9 if i and models[i] != models[i - 1] else 0 for i in range(len(models))]
