"""Two roofline views of every case: arithmetic against intensity, and bandwidth against bytes moved.

The first is the classical one. Decode attention has one intensity per head shape, so that its points stack up there;
the second spreads them out and shows from how many bytes on a device is busy with memory and not with launches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kinetics.report.style import color_of, hover, new_figure, safe, symbol_of
from kinetics.result_files import ResultFile, ResultRow
from kinetics.units import GIGA, MEGA, TERA, format_seconds

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Point = tuple[float, float]


def roofline(files: Sequence[ResultFile]) -> Figure:
    """FLOP/s against FLOP per byte, under each device's roof. Rows without arithmetic have no place here."""
    figure = new_figure(
        x={"type": "log", "title": "arithmetic intensity (FLOP / byte)"},
        y={"type": "log", "title": "achieved (TFLOP/s)"},
    )
    for index, file in enumerate(files):
        roof = _roof_line(file)
        if roof:
            _add_roof(figure, file, index, *roof)
        _add_points(figure, file, index, _arithmetic_point)
    return figure


def bandwidth(files: Sequence[ResultFile]) -> Figure:
    """GB/s against bytes moved, under each device's read bandwidth."""
    figure = new_figure(
        x={"type": "log", "title": "bytes that cannot be avoided (MB)"},
        y={"type": "log", "title": "achieved (GB/s)"},
    )
    for index, file in enumerate(files):
        sizes = [row.fields["minimum_bytes"] / MEGA for row in file.rows if _bandwidth_point(row)]
        read = file.ceilings.get("read_bytes_per_s")
        if sizes and read:
            _add_roof(figure, file, index, [min(sizes), max(sizes)], [read / GIGA, read / GIGA])
        _add_points(figure, file, index, _bandwidth_point)
    return figure


def _add_roof(figure: Figure, file: ResultFile, index: int, x: Sequence[float], y: Sequence[float]) -> None:
    dash = "solid" if file.ceiling_kind == "measured" else "dash"
    figure.add_scatter(
        x=list(x), y=list(y), mode="lines", line={"color": color_of(index), "width": 2, "dash": dash},
        name=safe(f"{file.label}: roof, {file.ceiling_kind}"), hoverinfo="name", legendgroup=str(index),
    )  # fmt: skip


def _add_points(figure: Figure, file: ResultFile, index: int, place: Callable[[ResultRow], Point | None]) -> None:
    by_operation: dict[str, list[tuple[Point, ResultRow]]] = {}
    for row in file.rows:
        point = place(row)
        if point:
            by_operation.setdefault(row.fields["operation"], []).append((point, row))
    for operation, members in by_operation.items():
        figure.add_scatter(
            x=[point[0] for point, _ in members],
            y=[point[1] for point, _ in members],
            mode="markers",
            marker={"color": color_of(index), "symbol": symbol_of(operation), "size": 8, "opacity": 0.8},
            name=safe(f"{file.label}: {operation}"),
            legendgroup=str(index),
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


def _roof_line(file: ResultFile) -> tuple[list[float], list[float]] | None:
    read, peak = file.ceilings.get("read_bytes_per_s"), file.ceilings.get("matmul_flop_per_s")
    if not read or not peak:
        return None
    points = [point for row in file.rows if (point := _arithmetic_point(row))]
    knee = peak / read
    low = min([knee / 10, *(x for x, _ in points)])
    intensities = [low, knee, knee * 10]
    return intensities, [min(read * x, peak) / TERA for x in intensities]
