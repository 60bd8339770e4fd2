"""How far predictions are off: the raw roofline for every case, the calibrated one on cases it was not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kinetics.report.roofline import describe
from kinetics.report.style import GREY, color_of, new_figure, safe, symbol_of
from kinetics.result_files import ResultFile
from kinetics.rows import calibration_errors

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def measured_over_predicted(files: Sequence[ResultFile]) -> Figure:
    """Measured over predicted time against predicted time; 1 is the roof itself."""
    figure = new_figure(
        x={"type": "log", "title": "predicted time (ms)"}, y={"type": "log", "title": "measured / predicted time"}
    )
    figure.add_hline(y=1.0, line={"color": GREY, "width": 1.5, "dash": "dot"})
    for index, file in enumerate(files):
        rows = [row for row in file.rows if row.is_kernel_or_step and row.fields["predicted_s"]]
        for operation in dict.fromkeys(row.fields["operation"] for row in rows):
            members = [row for row in rows if row.fields["operation"] == operation]
            figure.add_scatter(
                x=[1e3 * row.fields["predicted_s"] for row in members],
                y=[row.median_s / row.fields["predicted_s"] for row in members],
                mode="markers",
                marker={"color": color_of(index), "symbol": symbol_of(operation), "size": 8, "opacity": 0.8},
                name=safe(f"{file.label}: {operation}"),
                text=[describe(file, row) for row in members],
                hoverinfo="text",
            )
    return figure


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
