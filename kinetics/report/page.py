"""The page itself: panels with figures or with the command that makes their data, one template, everything embedded.

Text from files passes through the template's autoescape, as values of columns into figures, and into scripts only as
JSON without a single `<`. The page's own policy forbids every network request.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files as package_files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from kinetics.compare.tables import HEADINGS, left_out_table, prediction_table
from kinetics.files.atomic import to_strict, write_text
from kinetics.report.conclusion import conclude
from kinetics.report.device_cards import device_cards
from kinetics.report.frontiers import frontier_panel
from kinetics.report.heatmaps import MAX_MAPS, map_panel, speedup_maps
from kinetics.report.key_chart import key_chart
from kinetics.report.predictions import prediction_panel
from kinetics.report.providers import MAX_SERIES, draw_series, provider_series
from kinetics.report.regressions import MAX_CASES, ratio_table
from kinetics.report.roofline import roofline_panel
from kinetics.report.row_table import page_columns, row_values, shown_fields
from kinetics.report.sources import Sources
from kinetics.report.style import Panel, color_of
from kinetics.report.whole_steps import NONE_FITS, step_table
from kinetics.specs.distribution import install_command
from kinetics.tables.display import table_for_people
from kinetics.tables.quantity import NOTHING
from kinetics.tables.table import Table

_LIBRARIES: Final = ("bokeh", "jinja2", "itables")


def write_report(
    sources: Sources, out: Path, *, title: str, dollars_per_hour: Mapping[str, float] | None = None
) -> None:
    """Write the page, so that `out` is at every moment the old file or the new one.

    dollars_per_hour: of a device, by the letter of its file.

    Raises: RuntimeError if a library of the extra `report` is missing; CannotWriteError if `out` cannot be written.
    """
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    if missing:
        raise RuntimeError(f"the report needs {', '.join(missing)}, not installed; {install_command('report')}")
    write_text(out, render_page(sources, title=title, dollars_per_hour=dollars_per_hour))


def render_page(sources: Sources, *, title: str, dollars_per_hour: Mapping[str, float] | None = None) -> str:
    """The page as one text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("kinetics.report", ".")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["numeric_columns"] = numeric_columns
    panels, fields = page_panels(sources), shown_fields(sources.files)
    columns, rows = page_columns(fields), row_values(sources.files, fields)
    return environment.get_template("page.html.j2").render(
        title=title,
        panels=panels,
        num_rows=len(rows),
        columns=columns,
        payload=script_json({"columns": columns, "rows": rows}),
        figures=[(f"{name}-{i}", script_json(_payload(one))) for name in panels for i, one in enumerate(panels[name])],
        bokeh_js=_bokeh_js(),
        table_js=base64.b64encode(_bundle("dt_bundle.js").encode()).decode(),
        table_css=_bundle("dt_bundle.css"),
        page_css=_own("page.css"),
        page_js=_own("page.js"),
        **_texts(sources, dollars_per_hour or {}),
    )


def _texts(sources: Sources, dollars_per_hour: Mapping[str, float]) -> dict[str, Any]:
    """What stands on the page as text and tables."""
    files = sources.files
    conclusion = conclude(sources)
    max_cases = max(8, min(MAX_CASES, 3 * MAX_CASES // max(1, len(sources.regressions))))
    return {
        "conclusion": conclusion,
        "chart": key_chart(conclusion.figure) if conclusion.figure else None,
        "cards": device_cards(files, [color_of(index) for index in range(len(files))]),
        "num_series": len(provider_series(files)),
        "max_series": MAX_SERIES,
        "num_maps": len(speedup_maps(files)),
        "max_maps": MAX_MAPS,
        "steps": step_table(files, dollars_per_hour),
        "has_prices": bool(dollars_per_hour),
        "pricings": dict.fromkeys(f"{task.device}, {task.source}: {task.pricing}" for task in sources.tasks),
        "baseline": sources.baseline,
        "not_held": [file.label for file in sources.not_held],
        "other_devices": sources.other_devices,
        "regressions": [ratio_table(comparison, max_cases=max_cases) for comparison in sources.regressions],
        "max_cases": max_cases,
        "predictions": table_for_people(prediction_table(files), HEADINGS),
        "left_out": table_for_people(left_out_table([item for file in files for item in file.left_out]), HEADINGS),
    }


def page_panels(sources: Sources) -> dict[str, list[Panel]]:
    """Per section, what can be shown in it; empty without data."""
    files = sources.files
    has_bytes = any(row.is_kernel_or_step for file in files for row in file.rows)
    return {
        "providers": [draw_series(one) for one in provider_series(files)[:MAX_SERIES]],
        "speedup": [map_panel(one) for one in speedup_maps(files)[:MAX_MAPS]],
        "roofline": [roofline_panel(files)] if has_bytes else [],
        "prediction": [prediction_panel(files)] if has_bytes else [],
        "frontier": [frontier_panel(task) for task in sources.tasks],
    }


def numeric_columns(table: Table) -> set[int]:
    """Columns whose cells all begin with a digit, or say nothing: their numbers stand on the right."""
    columns = enumerate(zip(*table.rows, strict=True))
    return {
        i for i, cells in columns if all(str(cell)[:1].isdigit() or cell in ("", NOTHING, NONE_FITS) for cell in cells)
    }


def script_json(value: Any) -> str:
    """JSON that can stand inside a script element whatever its texts are: no `<`, `>`, `&` or line separator."""
    text = json.dumps(to_strict(value), allow_nan=False, separators=(",", ":"))
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
    return "".join(escapes.get(char, char) for char in text)


def _payload(panel: Panel) -> dict[str, Any]:
    """A panel as the page's script reads it."""
    from bokeh.embed import json_item

    return {
        "items": [json_item(figure) for figure in panel.figures],
        "legend": [asdict(entry) for entry in panel.legend],
        "alt": panel.alt,
        "note": panel.note,
    }


def _bokeh_js() -> str:
    """Bokeh's core alone: no widgets, tables, WebGL or maths."""
    from bokeh.resources import Resources

    return str(Resources(mode="inline", components=["bokeh"]).js_raw[0])


def _bundle(name: str) -> str:
    return (package_files("itables") / "html" / name).read_text(encoding="utf-8")


def _own(name: str) -> str:
    return (package_files("kinetics.report") / name).read_text(encoding="utf-8")
