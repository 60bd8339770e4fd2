"""Tables as people read them: headings instead of keys, units instead of long numbers.

Knows nothing of what tables are about: whoever shows one says what its columns are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kinetics.tables.quantity import NOTHING, Quantity, show
from kinetics.tables.table import Table, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table: its key, the kind of its values, and its heading (empty: the key with spaces)."""

    name: str
    quantity: Quantity = Quantity.TEXT
    heading: str = ""

    @property
    def title(self) -> str:
        """The heading people read."""
        return self.heading or self.name.replace("_", " ")


def table_for_people(table: Table, columns: Mapping[str, Column]) -> Table:
    """The table with headings and units as people read them; columns that are empty throughout are dropped.

    columns: by key; a key that is not among them is text under its own name.
    """
    kept = [i for i, _ in enumerate(table.columns) if any(row[i] not in (None, "") for row in table.rows)]
    known = [columns.get(name, Column(name=name)) for name in table.columns]
    return replace(
        table,
        columns=tuple(known[i].title for i in kept),
        rows=tuple(tuple(show_cell(row[i], known[i]) for i in kept) for row in table.rows),
    )


def show_cell(value: Value, column: Column) -> str:
    """A value under its heading."""
    return NOTHING if value is None else show(value, column.quantity)


def table_records(table: Table) -> list[dict[str, Value]]:
    """One mapping a row, by column."""
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def keep_columns(table: Table, columns: Sequence[str]) -> Table:
    """The table with these columns only."""
    indices = [table.columns.index(name) for name in columns]
    return replace(table, columns=tuple(columns), rows=tuple(tuple(row[i] for i in indices) for row in table.rows))


def without_constants(table: Table, columns: Sequence[str]) -> tuple[Table, dict[str, Value]]:
    """The table without those of `columns` that hold one value throughout, and these values by column."""
    firsts = {name: table.rows[0][table.columns.index(name)] for name in columns} if table.rows else {}
    constant = {
        name: value
        for name, value in firsts.items()
        if all(row[table.columns.index(name)] == value for row in table.rows)
    }
    return keep_columns(table, [name for name in table.columns if name not in constant]), constant
