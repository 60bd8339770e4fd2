"""Every row of every file as one table: plain values in the page, units and rounding in the browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from kinetics.results.reader import ResultFile, ResultRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of the table.

    `kind` is what the browser renders: text, count, tokens, seconds, percent, ratio, gb_per_s, millijoules or error.
    `is_filter`: the page offers a list of its values to filter by. `is_optional`: left out where no row has a value.
    """

    title: str
    field: str
    kind: str
    is_filter: bool = False
    is_optional: bool = False


COLUMNS: Final = (
    Column(title="file", field="file", kind="text", is_filter=True),
    Column(title="operation", field="operation", kind="text", is_filter=True),
    Column(title="provider", field="provider", kind="text", is_filter=True),
    Column(title="model or heads", field="model", kind="text", is_filter=True),
    Column(title="batch", field="batch", kind="count", is_filter=True),
    Column(title="context", field="context_len", kind="tokens", is_filter=True),
    Column(title="budget", field="kv_budget", kind="tokens"),
    Column(title="median", field="median_s", kind="seconds"),
    Column(title="IQR", field="iqr_fraction", kind="percent"),
    Column(title="predicted", field="predicted_s", kind="seconds"),
    Column(title="calibrated", field="calibrated_s", kind="seconds"),
    Column(title="role", field="calibration_role", kind="text", is_optional=True),
    Column(title="meas / pred", field="measured_over_predicted", kind="ratio"),
    Column(title="GB/s", field="achieved_bytes_per_s", kind="gb_per_s"),
    Column(title="of ceiling", field="fraction_of_ceiling", kind="percent"),
    Column(title="mJ / token", field="joules_per_token", kind="millijoules", is_optional=True),
    Column(title="layers", field="num_layers", kind="count"),
    Column(title="page", field="page_size", kind="count"),
    Column(title="dtype", field="dtype", kind="text", is_filter=True),
    Column(title="cache", field="cache_state", kind="text"),
    Column(title="max error", field="max_abs_error", kind="error"),
)


def shown_columns(files: Sequence[ResultFile]) -> list[Column]:
    """The columns of a page, optional ones only where some row has a value."""
    said = {name for file in files for row in file.rows for name, value in row.fields.items() if value is not None}
    return [column for column in COLUMNS if not column.is_optional or column.field in said]


def row_values(files: Sequence[ResultFile], columns: Sequence[Column]) -> list[list[Any]]:
    """One list a row, in the order of `columns`; None where a row does not say."""
    return [[_value(file, row, column.field) for column in columns] for file in files for row in file.rows]


def _value(file: ResultFile, row: ResultRow, field: str) -> Any:
    if field == "file":
        return file.label
    if field == "model":
        return row.model_or_heads
    if field == "median_s":
        return row.median_s
    if field == "iqr_fraction":
        return row.iqr_s / row.median_s if row.shows_spread else None
    return row.fields.get(field)
