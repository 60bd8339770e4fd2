"""Tables on a terminal, as wide as it is: only between words do cells wrap; what all rows share stands above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kinetics.tables.display import Column
    from kinetics.tables.table import Table


def print_table(table: Table, columns: Mapping[str, Column], *, title: str = "", shared: Sequence[str] = ()) -> None:
    """Print a table with headings and units; those of `shared` that hold one value throughout go into its title."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    from kinetics.files.printable import printable
    from kinetics.tables.display import Column, show_cell, table_for_people, without_constants

    table, constant = without_constants(table, [name for name in shared if name in table.columns])
    shown = table_for_people(table, columns)
    numbers = {column.title for column in columns.values() if column.quantity.is_number}
    known = {name: columns.get(name, Column(name=name)) for name in constant}
    words = ", ".join(
        f"{known[name].title} {show_cell(value, known[name])}" for name, value in constant.items() if value != ""
    )
    heading = printable(": ".join(part for part in (title, words) if part))
    rich = RichTable(
        title=heading or None, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left"
    )
    least = 0
    for i, name in enumerate(shown.columns):
        is_number = name in numbers
        words_of_column = [
            word for cell in (name, *(str(row[i]) for row in shown.rows)) for word in _words(cell, is_number)
        ]
        least += max(map(len, words_of_column)) + 2
        rich.add_column(
            name, justify="right" if is_number else "left", no_wrap=is_number, min_width=max(map(len, words_of_column))
        )
    for row in shown.rows:
        rich.add_row(*(printable(str(cell)) for cell in row))
    console = Console(markup=False, highlight=False)
    console.print(rich, width=max(console.width, least), soft_wrap=True)


def _words(cell: str, is_number: bool) -> list[str]:
    """What must stay in one line."""
    return [cell] if is_number else cell.split() or [""]
