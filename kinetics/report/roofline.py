"""Two roofline views of every case: arithmetic against intensity, and bandwidth against bytes moved.

The first is the classical one. Decode attention has one intensity per head shape, so that its points stack up there;
the second spreads them out and shows from how many bytes on a device is busy with memory and not with launches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kinetics.report.style import color_of, hover, log_axis, new_figure, safe, symbol_of
from kinetics.result_files import ResultFile, ResultRow
from kinetics.units import GIGA, MEGA, TERA, format_seconds

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Point = tuple[float, float]
Line = tuple[Sequence[float], Sequence[float]]


def roofline(files: Sequence[ResultFile]) -> Figure:
    """FLOP/s against FLOP per byte, under each device's roof. Rows without arithmetic have no place here."""
    roofs = [_roof_line(file) for file in files]
    titles = "arithmetic intensity (FLOP / byte)", "achieved (TFLOP/s)"
    return _draw(files, _arithmetic_point, roofs, titles)


def bandwidth(files: Sequence[ResultFile]) -> Figure:
    """GB/s against bytes moved, under each device's read bandwidth."""
    roofs = [_bandwidth_line(file) for file in files]
    return _draw(files, _bandwidth_point, roofs, ("bytes that cannot be avoided (MB)", "achieved (GB/s)"))


def _draw(
    files: Sequence[ResultFile],
    place: Callable[[ResultRow], Point | None],
    roofs: Sequence[Line],
    titles: tuple[str, str],
) -> Figure:
    points = [[(point, row) for row in file.rows if (point := place(row))] for file in files]
    seen = [point for group in points for point, _ in group]
    seen += [corner for x, y in roofs for corner in zip(x, y, strict=True)]
    figure = new_figure(
        x=log_axis(titles[0], [x for x, _ in seen]), y=log_axis(titles[1], [y for _, y in seen]), height=470
    )
    for index, (file, roof, group) in enumerate(zip(files, roofs, points, strict=True)):
        _add_roof(figure, file, index, roof)
        add_points(figure, file, index, group)
    return figure


def _add_roof(figure: Figure, file: ResultFile, index: int, roof: Line) -> None:
    dash = "solid" if file.ceiling_kind == "measured" else "dash"
    figure.add_scatter(
        x=list(roof[0]), y=list(roof[1]), mode="lines", line={"color": color_of(index), "width": 2, "dash": dash},
        name=safe(f"{file.label}: roof, {file.ceiling_kind}"), hoverinfo="name", legendgroup=str(index),
        showlegend=False,
    )  # fmt: skip


def add_points(figure: Figure, file: ResultFile, index: int, group: Sequence[tuple[Point, ResultRow]]) -> None:
    """A file's rows as marks: colour says which file, symbol which operation. One legend entry, the file's."""
    operations = list(dict.fromkeys(row.fields["operation"] for _, row in group))
    for operation in operations:
        members = [(point, row) for point, row in group if row.fields["operation"] == operation]
        figure.add_scatter(
            x=[x for (x, _), _ in members],
            y=[y for (_, y), _ in members],
            mode="markers",
            marker={"color": color_of(index), "symbol": symbol_of(operation), "size": 8, "opacity": 0.8},
            name=safe(file.label),
            legendgroup=str(index),
            showlegend=operation == operations[0],
            text=[describe(file, row) for _, row in members],
            hoverinfo="text",
        )


def describe(file: ResultFile, row: ResultRow) -> str:
    """Everything a reader asks about a point, for its hover label."""
    fields: Mapping[str, Any] = row.fields
    share = fields.get("fraction_of_ceiling")
    predicted = fields.get("predicted_s")
    lines = [
        row.label,
        f"{fields.get('provider') or '-'} {fields.get('provider_version') or ''}, {fields.get('dtype') or 'dtype ?'}",
        file.label,
        f"median {format_seconds(row.median_s)}" + (f", predicted {format_seconds(predicted)}" if predicted else ""),
    ]
    return hover([*lines, f"{100 * share:.0f} % of the {file.ceiling_kind} ceiling"] if share is not None else lines)


def _arithmetic_point(row: ResultRow) -> Point | None:
    flop, num_bytes = row.fields.get("flop"), row.fields.get("minimum_bytes")
    return (flop / num_bytes, flop / row.median_s / TERA) if flop and num_bytes else None


def _bandwidth_point(row: ResultRow) -> Point | None:
    num_bytes = row.fields.get("minimum_bytes")
    return (num_bytes / MEGA, num_bytes / row.median_s / GIGA) if num_bytes else None


def _roof_line(file: ResultFile) -> Line:
    """From a tenth of the knee, or the leftmost point, to ten times the knee; empty without ceilings."""
    read, peak = file.ceilings.get("read_bytes_per_s"), file.ceilings.get("matmul_flop_per_s")
    if not read or not peak:
        return [], []
    knee = peak / read
    low = min([knee / 10, *(point[0] for row in file.rows if (point := _arithmetic_point(row)))])
    intensities = [low, knee, knee * 10]
    return intensities, [min(read * x, peak) / TERA for x in intensities]


def _bandwidth_line(file: ResultFile) -> Line:
    read = file.ceilings.get("read_bytes_per_s")
    sizes = [point[0] for row in file.rows if (point := _bandwidth_point(row))]
    return ([min(sizes), max(sizes)], [read / GIGA, read / GIGA]) if sizes and read else ([], [])
