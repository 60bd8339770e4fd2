"""How far predictions are off: the raw roofline for every case, the calibrated one on cases it was not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kinetics.report.roofline import add_points
from kinetics.report.style import GREY, color_of, log_axis, new_figure, safe
from kinetics.result_files import ResultFile, ResultRow
from kinetics.rows import calibration_errors

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def measured_over_predicted(files: Sequence[ResultFile]) -> Figure:
    """Measured over predicted time against predicted time; 1 is the roof itself."""
    groups = [[(_point(row), row) for row in file.rows if row.fields.get("predicted_s")] for file in files]
    points = [point for group in groups for point, _ in group]
    figure = new_figure(
        x=log_axis("predicted time (ms)", [x for x, _ in points]),
        y=log_axis("measured / predicted time", [1.0, *(y for _, y in points)]),
    )
    figure.add_hline(y=1.0, line={"color": GREY, "width": 1.5, "dash": "dot"})
    for index, (file, group) in enumerate(zip(files, groups, strict=True)):
        add_points(figure, file, index, group)
    return figure


def _point(row: ResultRow) -> tuple[float, float]:
    predicted_s = row.fields["predicted_s"]
    return 1e3 * predicted_s, row.median_s / predicted_s


def held_out_errors(files: Sequence[ResultFile]) -> Figure | None:
    """Share of held-out cases whose calibrated prediction is within a given error; None if nothing was held out."""
    figure = new_figure(
        x={"title": "error of the calibrated prediction, at most (%)", "range": [0, 100]},
        y={"title": "share of held-out cases (%)", "range": [0, 102]},
    )
    for index, file in enumerate(files):
        rows = [{**row.fields, "median_s": row.median_s} for row in file.rows if row.is_kernel_or_step]
        errors = sorted(calibration_errors(rows, "held_out"))
        if errors:
            figure.add_scatter(
                x=[0.0, *(100 * error for error in errors)],
                y=[100 * count / len(errors) for count in range(len(errors) + 1)],
                mode="lines",
                line={"color": color_of(index), "width": 2, "shape": "hv"},
                name=safe(f"{file.label}: {len(errors)} cases"),
                hovertemplate="%{y:.0f} % of cases within %{x:.0f} %<extra></extra>",
            )
    return figure if figure.data else None
