"""A table of values, as CSV, aligned text or Markdown."""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kinetics.files.atomic import write_texts
from kinetics.files.printable import printable

_FORMULA_STARTS: Final = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
"""The last four are their full-width forms, which some spreadsheets take for the same."""
_NUMBER: Final = re.compile(r"[-+](\d[\d,.]*(e[-+]?\d+)?( ?%| [a-zA-Z/]+)?)?")

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A named table. `prints_markdown` is false for grids too long to read."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    prints_markdown: bool = True

    def as_csv(self) -> str:
        """The table as CSV with a header line; no name in it is a formula to whoever opens it."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow([_csv_cell(column) for column in self.columns])
        writer.writerows([_csv_cell(value) for value in row] for row in self.rows)
        return buffer.getvalue()

    def as_text(self) -> str:
        """The table in aligned columns; nothing but printable characters gets through."""
        cells = [list(self.columns), *([format_value(value) for value in row] for row in self.rows)]
        cells = [[printable(cell) for cell in line] for line in cells]
        widths = [max(len(line[i]) for line in cells) for i in range(len(self.columns))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
        )

    def as_markdown(self) -> str:
        """The table as Markdown; what names could smuggle in is escaped."""
        lines = [self.columns, ["---"] * len(self.columns)]
        lines += [[_markdown_cell(value) for value in row] for row in self.rows]
        return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _csv_cell(value: Value) -> str:
    """A value as CSV holds it: text that a spreadsheet would compute, or run, has an apostrophe before it.

    A line break within a cell would begin a row to whoever takes it for one.
    """
    text = format_value(value)
    if not isinstance(value, str):
        return text
    text = printable(text)
    is_formula = text.lstrip().startswith(_FORMULA_STARTS) and not _NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text


def _markdown_cell(value: Value) -> str:
    text = html.escape(printable(format_value(value)), quote=False)
    return text.replace("\\", "\\\\").replace("|", "\\|")  # in this order: a backslash before a pipe would free it


def format_value(value: Value) -> str:
    """A value as tables show it: six significant digits, nothing for None, nor for what is no number or infinite."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return "" if value is None else str(value)


def write_tables(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write every table as CSV, and as Markdown where it prints; a file is the old one or the new, never half.

    Raises: ValueError naming the folder if it cannot be written.
    """
    texts: dict[str, str] = {}
    for table in tables:
        texts[f"{table.name}.csv"] = table.as_csv()
        if table.prints_markdown:
            texts[f"{table.name}.md"] = table.as_markdown()
    return write_texts(texts, folder)
