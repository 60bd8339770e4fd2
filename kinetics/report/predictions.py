"""How far predictions are off: the raw roofline for every case, the calibrated one on cases it was not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kinetics.prediction.calibration import calibration_errors
from kinetics.report.roofline import HOVER_FIELDS, add_points
from kinetics.report.style import (
    GREY,
    Axis,
    Panel,
    add_hover,
    color_of,
    known_legend,
    log_axis,
    new_figure,
    tag,
)
from kinetics.results.reader import ResultFile
from kinetics.results.row import ResultRow

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure  # noqa: N812 - Bokeh's class is spelt like a function


def prediction_panel(files: Sequence[ResultFile]) -> Panel:
    """Raw errors, and those on held-out cases if any case was held out."""
    held_out = held_out_errors(files)
    figures = (measured_over_predicted(files), *([held_out] if held_out else []))
    return Panel(
        figures=figures,
        legend=known_legend(figures),
        title="Prediction error",
        alt="Measured over predicted time; share of held-out cases within an error of the calibrated prediction",
    )


def measured_over_predicted(files: Sequence[ResultFile]) -> Figure:
    """Measured over predicted time against predicted time; 1 is the roof itself."""
    from bokeh.models.annotations import Span

    groups = [[(_point(row), row) for row in file.rows if row.fields.get("predicted_s")] for file in files]
    points = [point for group in groups for point, _ in group]
    figure = new_figure(
        log_axis("predicted time (ms)", [x for x, _ in points]),
        log_axis("measured / predicted time", [1.0, *(y for _, y in points)]),
    )
    figure.add_layout(Span(location=1.0, dimension="width", line_color=GREY, line_dash="dotted", line_width=2))
    for index, (file, group) in enumerate(zip(files, groups, strict=True)):
        add_points(figure, file, index, group)
    add_hover(figure, HOVER_FIELDS)
    return figure


def _point(row: ResultRow) -> tuple[float, float]:
    predicted_s = row.fields["predicted_s"]
    return 1e3 * predicted_s, row.median_s / predicted_s


def held_out_errors(files: Sequence[ResultFile]) -> Figure | None:
    """Share of held-out cases whose calibrated prediction is within a given error; None if nothing was held out."""
    figure = new_figure(
        Axis(title="error of the calibrated prediction, at most (%)", limits=(0.0, 100.0)),
        Axis(title="share of held-out cases (%)", limits=(0.0, 102.0)),
    )
    for index, file in enumerate(files):
        rows = [{**row.fields, "median_s": row.median_s} for row in file.rows if row.is_kernel_or_step]
        errors = sorted(calibration_errors(rows, "held_out"))
        if errors:
            shares = [100 * count / len(errors) for count in range(len(errors) + 1)]
            line = figure.step(
                [0.0, *(100 * error for error in errors)],
                shares,
                mode="after",
                color=color_of(index),
                line_width=2,
                name=file.label,
            )
            tag(line, file.label, color=color_of(index), symbol="swatch")
    return figure if figure.renderers else None
