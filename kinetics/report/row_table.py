"""Every row of every file as one table: plain values in the page, units and rounding in the browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kinetics.results.field import Field, Role, View
from kinetics.results.fields import shown_in
from kinetics.results.reader import ResultFile


def shown_fields(files: Sequence[ResultFile]) -> list[Field]:
    """The fields that the page shows: those of which some row has a value."""
    said = {name for file in files for row in file.rows for name, value in row.fields.items() if value is not None}
    return [field for field in shown_in(View.REPORT) if field.name in {*said, "model"}]


def page_columns(fields: Sequence[Field]) -> list[dict[str, Any]]:
    """The columns as the browser needs them: title, kind of value, whether the page offers a list to filter by."""
    file = {"title": "file", "kind": "text", "is_filter": True, "meaning": "which of the files above"}
    return [file] + [
        {
            "title": field.column.title,
            "kind": field.quantity.value,
            "is_filter": field.role is not Role.MEASUREMENT,
            "meaning": field.meaning,
        }
        for field in fields
    ]


def row_values(files: Sequence[ResultFile], fields: Sequence[Field]) -> list[list[Any]]:
    """One list a row, in the order of the columns; None where a row does not say."""
    names = [field.name for field in fields]
    return [
        [file.label, *({**row.fields, "model": row.model_or_heads}.get(name) for name in names)]
        for file in files
        for row in file.rows
    ]
