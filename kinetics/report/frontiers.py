"""Accuracy against seconds: what the best choice of model and budget buys, dense and sparse."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from kinetics.law.stored_frontiers import FrontierLine, LawTask
from kinetics.report.style import INK, Axis, Panel, add_hover, color_of, known_legend, log_axis, new_figure, tag
from kinetics.specs.units import format_seconds

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure  # noqa: N812 - Bokeh's class is spelt like a function

_DASHES: Final = {"dense": "dashed", "local": "dotted"}
_SYMBOLS: Final = {"solid": "line", "dashed": "dashed", "dotted": "dotted"}
_LETTER_WIDTH, _NAME_HEIGHT = 0.017, 6.0
"""Of a name: share of the axis' width a letter, percent of accuracy."""
_GAP: Final = 0.008
_PLACES: Final[tuple[dict[str, Any], ...]] = (
    {"align": "right", "baseline": "bottom", "dx": -6, "dy": -3},
    {"align": "left", "baseline": "top", "dx": 6, "dy": 3},
    {"align": "right", "baseline": "top", "dx": -6, "dy": 3},
    {"align": "left", "baseline": "bottom", "dx": 6, "dy": -3},
)
"""Of a name at its mark, the best first: a line that rises leaves the upper left and the lower right free."""
NO_MODEL: Final = "none"
_Columns = dict[str, Any]


def frontier_panel(task: LawTask) -> Panel:
    """One way of spending on one device."""
    figure, prefix = draw_frontiers(task), common_prefix(task)
    return Panel(
        figures=(figure,),
        legend=known_legend([figure]),
        title=f"{task.task.replace('_', ' ')} on {task.device}: {task.source}",
        alt=f"Best accuracy over seconds per question on {task.device}, a line per attention",
        note=f"Names at the marks are of {prefix}..." if prefix else "",
    )


def draw_frontiers(task: LawTask) -> Figure:
    """One line per attention family; marks name the model that is best from there on."""
    seconds = [value for line in task.lines for value in line.seconds]
    figure = new_figure(
        log_axis("seconds per question, at most", seconds),
        Axis(title="accuracy (%)", limits=(-6.0, 105.0)),
    )
    names = _Names(seconds, len(common_prefix(task)))
    for index, line in enumerate(task.lines):
        columns, color = _columns(line), color_of(index)
        dash = _DASHES.get(line.attention, "solid")
        look: dict[str, Any] = {"color": color, "name": line.attention}
        marks: list[Any] = [figure.line("x", "y", source=columns, line_width=2.5, line_dash=dash, **look)]
        changes = _changes(columns)
        marks.append(figure.scatter("x", "y", source=changes, size=8, color=color, name=f"{line.attention}: marks"))
        marks.append(_draw_names(figure, names.placed(changes), name=f"{line.attention}: names"))
        for mark in marks:
            tag(mark, line.attention, color=color, symbol=_SYMBOLS[dash])
    add_hover(figure, ("best_model", "attention", "accuracy", "cost"))
    return figure


def common_prefix(task: LawTask) -> str:
    """What all names of models begin with, up to a dash: `Qwen3-`. Marks leave it out."""
    models = {model for line in task.lines for model in line.best_model if model != NO_MODEL}
    columns = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*models, strict=False))
    shared = "".join(letters[0] for letters in columns)
    return shared[: shared.rfind("-") + 1] if len(models) > 1 else ""


class _Names:
    """Places for the names of models: above left of their mark, or below right, wherever they hide no other name."""

    def __init__(self, seconds: Sequence[float], prefix_len: int) -> None:
        logs = [math.log(one) for one in seconds if one > 0] or [0.0]
        self._low, self._width = min(logs), (max(logs) - min(logs)) or 1.0
        self._prefix_len = prefix_len
        self._taken: list[tuple[float, float, float]] = []

    def placed(self, points: _Columns) -> _Columns:
        """The points that have room, with their `text` and where it stands."""
        found: _Columns = {name: [] for name in ("x", "y", "text", *_PLACES[0])}
        for x, y, model in zip(points["x"], points["y"], points["best_model"], strict=True):
            text = model[self._prefix_len :]
            place = self._free_place(x, y, text)
            if place is not None:
                for name, value in {"x": x, "y": y, "text": text, **place}.items():
                    found[name].append(value)
        return found

    def _free_place(self, x: float, y: float, text: str) -> dict[str, Any] | None:
        width, middle = _LETTER_WIDTH * len(text), (math.log(x) - self._low) / self._width if x > 0 else 0.0
        for place in _PLACES:
            is_left = place["align"] == "right"
            left = middle - width - _GAP if is_left else middle + _GAP
            height = y + _NAME_HEIGHT / 2 if place["baseline"] == "bottom" else y - _NAME_HEIGHT / 2
            if left >= 0 and all(self._is_apart(left, width, height, other) for other in self._taken):
                self._taken.append((left, width, height))
                return place
        return None

    @staticmethod
    def _is_apart(left: float, width: float, height: float, other: tuple[float, float, float]) -> bool:
        other_left, other_width, other_height = other
        is_beside = left > other_left + other_width or other_left > left + width
        return is_beside or abs(height - other_height) >= _NAME_HEIGHT


def _draw_names(figure: Figure, named: _Columns, *, name: str) -> Any:
    place: dict[str, Any] = {"text_align": "align", "text_baseline": "baseline", "x_offset": "dx", "y_offset": "dy"}
    marks = figure.text("x", "y", text="text", source=named, text_font_size="12px", name=name, **place)
    marks.glyph.tags = [INK]
    return marks


def _columns(line: FrontierLine) -> _Columns:
    """The points where some model answers something right."""
    columns: _Columns = {
        "x": list(line.seconds),
        "y": [100 * accuracy for accuracy in line.accuracy],
        "best_model": list(line.best_model),
        "attention": [line.attention] * len(line.seconds),
        "accuracy": [f"{100 * accuracy:.1f} %" for accuracy in line.accuracy],
        "cost": [format_seconds(seconds) for seconds in line.seconds],
    }
    kept = [i for i, model in enumerate(line.best_model) if model != NO_MODEL]
    return {name: [values[i] for i in kept] for name, values in columns.items()}


def _changes(columns: _Columns) -> _Columns:
    """The points from which another model is best, the first model's included."""
    models = columns["best_model"]
    kept = [i for i, model in enumerate(models) if i == 0 or model != models[i - 1]]
    return {name: [values[i] for i in kept] for name, values in columns.items()}
