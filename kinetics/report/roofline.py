"""Two roofline views of every case: arithmetic against intensity, and bandwidth against bytes moved.

The first is the classical one. Decode attention has one intensity per head shape, so that its points stack up there;
the second spreads them out and shows from how many bytes on a device is busy with memory and not with launches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from kinetics.report.style import (
    GREY,
    POINT_SIZE,
    Panel,
    add_hover,
    color_of,
    known_legend,
    log_axis,
    new_figure,
    symbol_of,
    tag,
    tag_row_mark,
)
from kinetics.results.reader import ResultFile
from kinetics.results.row import ResultRow
from kinetics.specs.units import GIGA, MEGA, TERA, format_seconds

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure  # noqa: N812 - Bokeh's class is spelt like a function

Point = tuple[float, float]
Line = tuple[Sequence[float], Sequence[float]]

HOVER_FIELDS = ("case", "provider", "file", "measured", "predicted", "of_ceiling")


def roofline_panel(files: Sequence[ResultFile]) -> Panel:
    """Both views."""
    figures = (roofline(files), bandwidth(files))
    return Panel(
        figures=figures,
        legend=known_legend(figures),
        title="Roofline",
        alt="Arithmetic per second over arithmetic intensity, and bytes per second over bytes moved, under each roof",
    )


def roofline(files: Sequence[ResultFile]) -> Figure:
    """FLOP/s against FLOP per byte, under each device's roof. Rows without arithmetic have no place here."""
    roofs = [_roof_line(file) for file in files]
    return _draw(files, _arithmetic_point, roofs, ("arithmetic intensity (FLOP / byte)", "achieved (TFLOP/s)"))


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
    axes = log_axis(titles[0], [x for x, _ in seen]), log_axis(titles[1], [y for _, y in seen])
    figure = new_figure(*axes, height=470)
    for index, (file, (x, y)) in enumerate(zip(files, roofs, strict=True)):
        dash: Literal["solid", "dashed"] = "solid" if file.ceiling_kind == "measured" else "dashed"
        name = f"roof of {file.label}"
        roof = figure.line(list(x), list(y), line_color=color_of(index), line_width=2, line_dash=dash, name=name)
        tag(roof, file.label, color=color_of(index), symbol="swatch")
        symbol = "line" if dash == "solid" else "dashed"
        tag(roof, f"roof, {'as measured' if dash == 'solid' else 'by data sheet'}", color=GREY, symbol=symbol)
    for index, (file, group) in enumerate(zip(files, points, strict=True)):
        add_points(figure, file, index, group)
    add_hover(figure, HOVER_FIELDS)
    return figure


def add_points(figure: Figure, file: ResultFile, index: int, group: Sequence[tuple[Point, ResultRow]]) -> None:
    """A file's rows as marks: colour says which file, symbol which operation."""
    for operation in dict.fromkeys(row.fields["operation"] for _, row in group):
        members = [(point, row) for point, row in group if row.fields["operation"] == operation]
        columns: dict[str, Any] = {"x": [x for (x, _), _ in members], "y": [y for (_, y), _ in members]}
        described = [describe(file, row) for _, row in members]
        columns |= {name: [texts[name] for texts in described] for name in HOVER_FIELDS}
        marks = figure.scatter(
            "x",
            "y",
            source=columns,
            size=POINT_SIZE,
            color=color_of(index),
            alpha=0.75,
            name=f"{file.label}: {operation}",
            **symbol_of(operation),
        )
        tag_row_mark(marks, file=file.label, color=color_of(index), operation=operation)


def describe(file: ResultFile, row: ResultRow) -> dict[str, str]:
    """Everything a reader asks about a point, for its hover label."""
    fields = row.fields
    share, predicted_s = fields.get("fraction_of_ceiling"), fields.get("predicted_s")
    return {
        "case": f"{row.label}, {fields.get('dtype') or 'dtype not stated'}",
        "provider": f"{fields.get('provider') or '-'} {fields.get('provider_version') or ''}".strip(),
        "file": file.label,
        "measured": format_seconds(row.median_s),
        "predicted": format_seconds(predicted_s) if predicted_s else "-",
        "of_ceiling": f"{100 * share:.0f} % ({file.ceiling_kind})" if share is not None else "-",
    }


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
