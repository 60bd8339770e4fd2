"""A table of values, as CSV, aligned text or Markdown."""

from __future__ import annotations

import csv
import html
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kinetics.files.atomic import write_texts
from kinetics.files.printable import printable

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A named table. `prints_markdown` is false for grids too long to read."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    prints_markdown: bool = True

    def as_csv(self) -> str:
        """The table as CSV with a header line."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([format_value(value) for value in row] for row in self.rows)
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
