"""Accuracy against seconds: what the best choice of model and budget buys, dense and sparse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kinetics.law.stored_frontiers import FrontierLine, LawTask
from kinetics.report.style import Axis, add_hover, add_legend, color_of, log_axis, new_figure
from kinetics.specs.units import format_seconds

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure  # noqa: N812 - Bokeh's class is spelt like a function

_DASHES: Final = {"dense": "dashed", "local": "dotted"}


def draw_frontiers(task: LawTask) -> Figure:
    """One line per attention family; hovering says which model is best there, marks say where that changes."""
    seconds = [value for line in task.lines for value in line.seconds]
    figure = new_figure(
        log_axis(f"seconds per question, at most, on {task.device}", seconds), Axis(title="accuracy (%)")
    )
    for index, line in enumerate(task.lines):
        columns = _columns(line)
        look: dict[str, Any] = {"color": color_of(index), "legend_label": line.attention, "name": line.attention}
        dash = _DASHES.get(line.attention, "solid")
        figure.line("x", "y", source=columns, line_width=2.5, line_dash=dash, **look)
        figure.scatter("x", "y", source=columns, size="size", **look)
    add_legend(figure)
    add_hover(figure, ("best_model", "attention", "accuracy", "cost"))
    return figure


def _columns(line: FrontierLine) -> dict[str, Any]:
    models = line.best_model
    return {
        "x": list(line.seconds),
        "y": [100 * accuracy for accuracy in line.accuracy],
        "size": [8 if i and models[i] != models[i - 1] else 0 for i in range(len(models))],
        "best_model": list(models),
        "attention": [line.attention] * len(models),
        "accuracy": [f"{100 * accuracy:.1f} %" for accuracy in line.accuracy],
        "cost": [format_seconds(seconds) for seconds in line.seconds],
    }
