"""Tables as people read them: headings instead of keys, units instead of long numbers.

Knows nothing of what tables are about; a column's name says its unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from kinetics.specs.counts import short
from kinetics.specs.units import GIGA, TERA, format_seconds
from kinetics.tables.table import Table, Value, format_value

HEADINGS: Final = {
    "median_s": "median", "iqr_fraction": "IQR", "ratio": "time x base", "ratio_low": "95 % from", "ratio_high": "to",
    "achieved_bytes_per_s": "GB/s", "fraction_of_ceiling": "of ceiling", "ceiling_kind": "ceiling",
    "predicted_s": "predicted", "calibrated_s": "calibrated", "measured_over_predicted": "meas/pred",
    "differs_in": "differs in (base / this)", "read_bytes_per_s": "read GB/s", "matmul_flop_per_s": "TFLOP/s",
    "fraction_of_data_sheet": "of data sheet", "measured_context_len": "measured from", "kv_budget": "budget",
    "predicted_context_len": "predicted from", "num_cases": "cases", "geometric_mean_ratio": "mean x base",
    "smallest_ratio": "smallest", "largest_ratio": "largest", "num_slower": "slower", "num_faster": "faster",
    "median_measured_over_predicted": "meas/pred", "held_out_median_abs_error": "held-out error",
    "held_out_p90_abs_error": "its p90", "num_held_out": "over cases", "num_rows": "rows", "started_utc": "started",
    "num_names": "how many", "joules_per_token": "mJ/token", "same_samples": "same samples",
    "accuracy_fraction": "accuracy", "choice_changes": "changes", "cost_s": "per question", "base_median_s": "base",
}  # fmt: skip
"""Headings of columns whose names need more than spaces."""


def table_for_people(table: Table) -> Table:
    """The table with headings and units as people read them; columns that are empty throughout are dropped."""
    kept = [i for i, _ in enumerate(table.columns) if any(row[i] not in (None, "") for row in table.rows)]
    return replace(
        table,
        columns=tuple(HEADINGS.get(table.columns[i], table.columns[i].replace("_", " ")) for i in kept),
        rows=tuple(tuple(show(table.columns[i], row[i]) for i in kept) for row in table.rows),
    )


def table_records(table: Table) -> list[dict[str, Value]]:
    """One mapping a row, by column."""
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def keep_columns(table: Table, columns: Sequence[str]) -> Table:
    """The table with these columns only."""
    indices = [table.columns.index(name) for name in columns]
    return replace(table, columns=tuple(columns), rows=tuple(tuple(row[i] for i in indices) for row in table.rows))


def show(column: str, value: Value) -> str:
    """A value with its unit, as its column's name implies."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return format_value(value)
    if column.endswith("bytes_per_s"):
        return f"{value / GIGA:.1f}"
    if column.endswith("flop_per_s"):
        return f"{value / TERA:.3g}"
    if "fraction" in column or "error" in column:
        return f"{100 * value:.0f} %"
    if column.startswith("joules"):
        return f"{1e3 * value:.3g}"
    if column.endswith("_s"):
        return f"{value:,.0f} s" if value >= 1000 else format_seconds(value)
    if "ratio" in column:
        return _show_ratio(value)
    if column.endswith("over_predicted"):
        return f"{value:.2f}"
    return short(round(value)) if "context_len" in column or column == "kv_budget" else format_value(value)


def _show_ratio(ratio: float) -> str:
    """Near 1 with three decimals; far below it as a fraction, which reads better than zeros."""
    if ratio < 0.1:
        return f"1/{1 / ratio:.3g}"
    return f"{ratio:.3f}" if ratio < 10 else f"{ratio:.3g}"
