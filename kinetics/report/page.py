"""The page itself: panels with figures or with the command that makes their data, one template, everything embedded.

Text from files passes through the template's autoescape, as values of columns into figures, and into scripts only as
JSON without a single `<`. The page's own policy forbids every network request.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from importlib.resources import files as package_files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kinetics.compare.comparison import Comparison
from kinetics.compare.tables import HEADINGS, left_out_table, prediction_table, remarks
from kinetics.distribution import install_command
from kinetics.files.atomic import to_strict
from kinetics.report.frontiers import draw_frontiers
from kinetics.report.heatmaps import draw_map, speedup_maps
from kinetics.report.predictions import held_out_errors, measured_over_predicted
from kinetics.report.regressions import FASTER, MAX_CASES, SLOWER, draw_ratios, ratio_of, verdict
from kinetics.report.roofline import bandwidth, roofline
from kinetics.report.row_table import page_columns, row_values, shown_fields
from kinetics.report.sources import Sources
from kinetics.report.style import color_of
from kinetics.results.reader import Origin, ResultFile
from kinetics.specs.units import GIGA, TERA, format_seconds
from kinetics.tables.display import table_for_people
from kinetics.tables.quantity import Quantity, show

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure  # noqa: N812 - Bokeh's class is spelt like a function

_LIBRARIES: Final = ("bokeh", "jinja2", "itables")


def write_report(sources: Sources, out: Path, *, title: str) -> None:
    """Write the page, so that `out` is at every moment the old file or the new one.

    Raises: RuntimeError if a library of the extra `report` is missing; ValueError if `out` cannot be written.
    """
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    if missing:
        raise RuntimeError(f"the report needs {', '.join(missing)}, not installed; {install_command('report')}")
    staged = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        staged.write_text(render_page(sources, title=title), encoding="utf-8")
        staged.replace(out)
    except OSError as error:
        raise ValueError(f"--out {out}: cannot be written ({error.strerror}); choose another file") from error


def render_page(sources: Sources, *, title: str) -> str:
    """The page as one text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("kinetics.report", ".")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    figures, fields = page_figures(sources), shown_fields(sources.files)
    payload = {
        "figures": {name: [_items(panel) for panel in panels] for name, panels in figures.items()},
        "columns": page_columns(fields),
        "rows": row_values(sources.files, fields),
    }
    return environment.get_template("page.html.j2").render(
        title=title,
        cards=[device_card(file, color_of(index)) for index, file in enumerate(sources.files)],
        figures=figures,
        map_titles=[one.title for one in speedup_maps(sources.files)],
        task_titles=[f"{task.task.replace('_', ' ')}: {task.source}" for task in sources.tasks],
        pricings=dict.fromkeys(f"{task.device}, {task.source}: {task.pricing}" for task in sources.tasks),
        baseline=sources.baseline,
        not_held=[file.label for file in sources.not_held],
        regressions=[regression_summary(comparison) for comparison in sources.regressions],
        max_cases=MAX_CASES,
        predictions=table_for_people(prediction_table(sources.files), HEADINGS),
        left_out=table_for_people(left_out_table([item for file in sources.files for item in file.left_out]), HEADINGS),
        num_rows=len(payload["rows"]),
        columns=payload["columns"],
        payload=script_json(payload),
        bokeh_js=_bokeh_js(),
        table_js=base64.b64encode(_bundle("dt_bundle.js").encode()).decode(),
        table_css=_bundle("dt_bundle.css"),
        page_css=_own("page.css"),
        page_js=_own("page.js"),
    )


def page_figures(sources: Sources) -> dict[str, list[list[Figure]]]:
    """Per panel, what can be shown in it, each as the figures that stand side by side; empty without data."""
    files = sources.files
    has_bytes = any(row.is_kernel_or_step for file in files for row in file.rows)
    held_out = held_out_errors(files) if has_bytes else None
    return {
        "roofline": [[roofline(files), bandwidth(files)]] if has_bytes else [],
        "speedup": [draw_map(one) for one in speedup_maps(files)],
        "prediction": [[measured_over_predicted(files), *([held_out] if held_out else [])]] if has_bytes else [],
        "frontier": [[draw_frontiers(task)] for task in sources.tasks],
        "regression": [[draw_ratios(comparison)] for comparison in sources.regressions],
    }


def device_card(file: ResultFile, color: str) -> dict[str, Any]:
    """What a card says of a file: the device, who measured, its ceilings, software, and what to be wary of."""
    known = file.ceilings
    ceilings = [
        (name, f"{_three_digits(known[key] / unit)} {shown}")
        for name, key, unit, shown in (
            ("memory read", "read_bytes_per_s", GIGA, "GB/s"),
            ("read from cache", "cached_read_bytes_per_s", GIGA, "GB/s"),
            ("copy", "copy_bytes_per_s", GIGA, "GB/s"),
            ("matrix product", "matmul_flop_per_s", TERA, "TFLOP/s"),
        )
        if key in known
    ]
    if "launch_s" in known:
        ceilings.append(("one launch", format_seconds(known["launch_s"])))
    if file.origin is Origin.MEASURED and file.data_sheet_bytes_per_s and "read_bytes_per_s" in known:
        share = known["read_bytes_per_s"] / file.data_sheet_bytes_per_s
        ceilings.append(("memory read, of data sheet", show(share, Quantity.SHARE)))
    facts = [("run", file.started_utc), ("commit", file.commit[:7]), ("grid", file.grid), ("source", file.source)]
    facts += [(name, file.versions[name]) for name in ("torch", "triton", "numba") if name in file.versions]
    return {
        "label": file.label,
        "color": color,
        "origin": file.origin.value,
        "ceilings": ceilings,
        "ceiling_kind": file.ceiling_kind,
        "facts": [(name, value) for name, value in facts if value],
        "num_rows": len(file.rows),
        "num_left_out": len(file.left_out),
        "notes": file.notes,
        "path": file.path.name,
    }


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def regression_summary(comparison: Comparison) -> dict[str, Any]:
    """Counts that stand above a figure of ratios."""
    verdicts = [verdict(ratio_of(case)) for case in comparison.cases]
    return {
        "file": comparison.files[1].label,
        "num_cases": len(verdicts),
        "num_slower": verdicts.count(SLOWER),
        "num_faster": verdicts.count(FASTER),
        "left_out": table_for_people(left_out_table(comparison.left_out), HEADINGS),
        "remarks": remarks(comparison),
    }


def script_json(value: Any) -> str:
    """JSON that can stand inside a script element whatever its texts are: no `<`, `>`, `&` or line separator."""
    text = json.dumps(to_strict(value), allow_nan=False, separators=(",", ":"))
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
    return "".join(escapes.get(char, char) for char in text)


def _items(panel: Sequence[Figure]) -> list[Any]:
    """Figures as Bokeh's script reads them."""
    from bokeh.embed import json_item

    return [json_item(figure) for figure in panel]


def _bokeh_js() -> str:
    """Bokeh's core alone: no widgets, tables, WebGL or maths."""
    from bokeh.resources import Resources

    return str(Resources(mode="inline", components=["bokeh"]).js_raw[0])


def _bundle(name: str) -> str:
    return (package_files("itables") / "html" / name).read_text(encoding="utf-8")


def _own(name: str) -> str:
    return (package_files("kinetics.report") / name).read_text(encoding="utf-8")
