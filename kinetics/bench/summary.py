"""The closing summary of a benchmark run, as tables for a terminal.

Functions of a result file: what they print can be printed again from the file. Every figure that is a prediction says
so; every time is a median, with the interquartile range beside it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kinetics.prediction.calibration import calibration_errors
from kinetics.results.disturbance import disturbed_rows
from kinetics.results.field import Field, View
from kinetics.results.fields import shown_in
from kinetics.results.recovery import Recovered
from kinetics.results.speedup import Crossover, crossovers, gpu_condition, speedups, step_speedup
from kinetics.results.store import Document
from kinetics.specs.counts import short
from kinetics.specs.units import GIGA, TERA, format_seconds
from kinetics.tables.quantity import NOTHING, Quantity, show

_MAX_SKIPS = 12
_MIN_WIDTH = 130  # a wrapped line loses nothing, a column cut to fit does
_SUSPICIOUS_FRACTION = 1.1
_BUSY_SHARE = 0.6


def print_summary(
    document: Document,
    *,
    result: Path | None,
    recovered: Sequence[Recovered],
    file: IO[str],
    problem: str | None = None,
) -> None:
    """Print device, rows, speed-ups, prediction error, skips, and the path of the result file.

    `problem`: why a row or the file could not be written.
    """
    console = Console(file=file, highlight=False)
    console.width = max(console.width, _MIN_WIDTH)
    console.print()
    for one in recovered:
        console.print(escape(str(one)))
    rows = [with_spread(bench) for bench in document.get("benchmarks", [])]
    measured = [row for row in rows if "predicted_s" in row]
    if measured:
        console.print(device_line(document))
        console.print(rows_table(measured))
        if speedups(measured):
            console.print(speedup_table(measured))
        if steps := [row for row in measured if "attention_share" in row]:
            console.print(step_table(steps))
            if step_dtype := document["machine_info"].get("step_dtype"):
                console.print(escape(step_dtype["reason"].capitalize()))
        for line in crossover_lines(crossovers(speedups(measured))):
            console.print(line)
        console.print(prediction_line(measured))
        for line in [*suspicious_lines(measured), *busy_lines(measured), *disturbed_lines(measured)]:
            console.print(line)
    for line in skip_lines(document.get("skipped", [])):
        console.print(line, markup=False)
    if problem is not None:
        console.print(escape(problem), style="bold", soft_wrap=True)
    if result is not None:
        console.print(f"Result file: {escape(str(result))}")
    elif problem is None:
        console.print("No case was measured; no result file was written.")


def with_spread(bench: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a benchmark entry, the spread of its samples among them."""
    fields: dict[str, Any] = bench["extra_info"]
    median_s = fields.get("median_s")
    return fields | {"iqr_fraction": bench["stats"]["iqr"] / median_s if median_s else None}


def device_line(document: Document) -> str:
    """The device and its measured ceilings, in one paragraph."""
    facts = document["machine_info"]
    ceilings = facts["ceilings"]
    cached_gb_per_s = ceilings["cached_read_bytes_per_s"] / GIGA
    return (
        f"{escape(facts['device'])} ({escape(facts['device_slug'])}), measured ceilings: "
        f"read {ceilings['read_bytes_per_s'] / GIGA:.1f} GB/s, from cache {cached_gb_per_s:.1f} GB/s, "
        f"copy {ceilings['copy_bytes_per_s'] / GIGA:.1f} GB/s, {ceilings['dtype']} matmul "
        f"{ceilings['matmul_flop_per_s'] / TERA:.3f} TFLOP/s, launch {format_seconds(ceilings['launch_s'])}"
    )


def rows_table(rows: Sequence[dict[str, Any]]) -> Table:
    """One line per case: measured beside predicted."""
    table = _case_table("Measured beside predicted", [field.column.title for field in shown_in(View.SUMMARY)])
    for row in rows:
        marks = {"calibrated_s": "*" if row["calibration_role"] == "held_out" else " "}
        table.add_row(escape(row["case"]), *_cells(row, shown_in(View.SUMMARY), marks))
    table.caption = "* held out: this row took no part in fitting its calibrated time"
    return table


def _case_table(title: str, headings: Sequence[str]) -> Table:
    """A table whose lines are cases: their names on the left, figures on the right."""
    table = Table(title=title, title_justify="left", caption_justify="left", box=None, pad_edge=False)
    for name in ("case", *headings):
        table.add_column(name, justify="left" if name == "case" else "right", no_wrap=True)
    return table


def _cells(row: dict[str, Any], fields: Sequence[Field], marks: Mapping[str, str]) -> list[str]:
    """What a row says in these fields; `marks`: a sign behind a value, by field."""
    shown = [(field.name, show(row.get(field.name), field.quantity)) for field in fields]
    return [text + (marks.get(name, "") if text != NOTHING else "") for name, text in shown]


def speedup_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Dense against the whole sparse path, same provider, same cell."""
    table = Table(title="Dense / sparse speed-up (search included)", title_justify="left", box=None, pad_edge=False)
    for name in (
        "provider",
        "model",
        "batch",
        "context",
        "budget",
        "dense",
        "sparse",
        "measured",
        "predicted",
        "calibrated",
    ):
        table.add_column(name, justify="left" if name in ("provider", "model") else "right", no_wrap=True)
    for pair in speedups(rows):
        table.add_row(
            pair.provider,
            pair.model,
            str(pair.batch),
            short(pair.context_len)
            + (" warm" if pair.cache_state == "warm" else "")
            + (" hnd" if pair.uses_cuda_graph and pair.kv_layout == "hnd" else ""),
            short(pair.kv_budget),
            format_seconds(pair.dense_s),
            format_seconds(pair.sparse_s),
            f"{pair.measured:.2f}x",
            f"{pair.predicted:.2f}x",
            f"{pair.calibrated:.2f}x" if pair.calibrated else "-",
        )
    return table


def step_table(rows: Sequence[dict[str, Any]]) -> Table:
    """One line per decode step: what all layers make of it, attention's share, and whether its memory was there."""
    fields = shown_in(View.STEPS)
    table = _case_table("Decode steps", [*(field.column.title for field in fields), "vs dense"])
    for row in rows:
        speedup = step_speedup(row, rows)
        marks = {"full_model_s": "*" if row["full_model_is_extrapolated"] else " "}
        table.add_row(escape(row["case"]), *_cells(row, fields, marks), show(speedup, Quantity.SPEEDUP))
    errors = [row["extrapolation_error"] for row in rows if row["extrapolation_error"] is not None]
    checked = f"; where all layers were measured, off by {', '.join(f'{100 * one:+.0f} %' for one in errors)}"
    table.caption = "* extrapolated from two numbers of layers" + (checked if errors else "")
    return table


def crossover_lines(found: Sequence[Crossover]) -> list[str]:
    """From which context sparse attention pays, measured and predicted."""
    return [
        f"Sparse overtakes dense ({one.provider}, {one.model}, batch {one.batch}, budget {short(one.kv_budget)}, "
        f"pages of {one.page_size}{gpu_condition(one.uses_cuda_graph, one.kv_layout)}): "
        f"measured {one.measured_note}, predicted {one.predicted_note}"
        for one in found
    ]


def prediction_line(rows: Sequence[dict[str, Any]]) -> str:
    """Error of the calibrated prediction where it was not fitted, and of the uncalibrated one everywhere.

    Calibrated times follow the bandwidth seen between the samples of each case, uncalibrated ones the run's ceiling.
    """
    raw = [abs(row["predicted_s"] / row["median_s"] - 1.0) for row in rows]
    held_out = calibration_errors(rows, "held_out")
    return (
        f"Prediction error: uncalibrated {_median_p90(raw)}; calibrated, held-out cases {_median_p90(held_out)}\n"
        "Calibrated times follow the bandwidth seen between the samples of each case"
    )


def suspicious_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Rows that moved their bytes faster than the measured ceiling: the row or the ceiling is wrong."""
    return [
        f"Suspicious: {escape(row['case'])} reached {100 * row['fraction_of_ceiling']:.0f} % of the measured ceiling; "
        "its data stayed in cache, or the machine was busy while the ceiling was measured"
        for row in rows
        if row["fraction_of_ceiling"] > _SUSPICIOUS_FRACTION
    ]


def busy_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A warning if the machine read memory much more slowly between the samples than while its ceiling was measured."""
    shares = [
        row["canary_bytes_per_s"] / row["ceiling_bytes_per_s"]
        for row in rows
        if row.get("canary_bytes_per_s") is not None
    ]
    if not shares or statistics.median(shares) >= _BUSY_SHARE:
        return []
    return [
        f"Busy machine: between samples it read at {100 * statistics.median(shares):.0f} % of its own ceiling; "
        "other programs took part in every time above. Do not publish this run"
    ]


def disturbed_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The rows that others disturbed and that were not quiet the second time either."""
    told = disturbed_rows(rows)
    return [f"Disturbed: {escape(told)}. Their times are worth nothing; do not publish this run"] if told else []


def skip_lines(skipped: Sequence[dict[str, str]]) -> list[str]:
    """What was left out and why, cases with one reason together."""
    by_reason: dict[str, list[str]] = {}
    for skip in skipped:
        by_reason.setdefault(skip["reason"], []).append(skip["name"].split("::")[-1])
    lines = [f"Skipped {_counted(names)}: {reason}" for reason, names in by_reason.items()]
    hidden = len(lines) - _MAX_SKIPS
    return lines[:_MAX_SKIPS] + ([f"... and {hidden} more reasons in the result file"] if hidden > 0 else [])


def _counted(names: Sequence[str]) -> str:
    """The one name, or how many and the first three."""
    if len(names) == 1:
        return names[0]
    return f"{len(names)} cases ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"


def _median_p90(errors: Sequence[float]) -> str:
    if not errors:
        return "unknown (too few cases)"
    median, p90 = np.percentile(errors, [50, 90])
    return f"median {100 * median:.0f} %, p90 {100 * p90:.0f} % over {len(errors)}"
