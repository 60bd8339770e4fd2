"""Every row of every file as one table: plain values in the page, units and rounding in the browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from kinetics.result_files import ResultFile, ResultRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of the table.

    `kind` is what the browser renders: text, count, tokens, seconds, percent, ratio, gb_per_s or error.
    `is_filter`: the page offers a list of its values to filter by.
    """

    title: str
    field: str
    kind: str
    is_filter: bool = False


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
    Column(title="meas / pred", field="measured_over_predicted", kind="ratio"),
    Column(title="GB/s", field="achieved_bytes_per_s", kind="gb_per_s"),
    Column(title="of ceiling", field="fraction_of_ceiling", kind="percent"),
    Column(title="layers", field="num_layers", kind="count"),
    Column(title="page", field="page_size", kind="count"),
    Column(title="dtype", field="dtype", kind="text", is_filter=True),
    Column(title="cache", field="cache_state", kind="text"),
    Column(title="max error", field="max_abs_error", kind="error"),
)


def row_values(files: Sequence[ResultFile]) -> list[list[Any]]:
    """One list a row, in the order of COLUMNS; None where a row does not say."""
    return [[_value(file, row, column.field) for column in COLUMNS] for file in files for row in file.rows]


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
