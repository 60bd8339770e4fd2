"""The document of a gated suite as lines for a terminal and as Markdown. Text from tests and files is escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from kinetics.files.printable import one_line
from kinetics.gate.evidence import BASE, CANDIDATE
from kinetics.results.store import Document
from kinetics.specs.units import format_seconds
from kinetics.tables.table import Table

_COLUMNS = ("test", "verdict", "base", "candidate", "ratio", "99 % bounds", "launches", "why")


def suite_table(document: Document) -> Table:
    """One line per test."""
    return Table(name="verdicts", columns=_COLUMNS, rows=tuple(map(_cells, document["verdicts"])))


def suite_title(document: Document) -> str:
    """What was compared, and where."""
    commit, base = document["commit_info"], document["base"]["id"][:7]
    candidate = commit["id"][:7] + ("-dirty" if commit["dirty"] else "")
    return f"Gate: tests of {candidate} against {base} on {document['machine_info']['device']}"


def suite_remarks(document: Document) -> list[str]:
    """What a reader must know besides the table, a line each."""
    lines = []
    if document["lost"]:
        lines.append(f"The run ended early: {one_line(document['lost'])}. What was measured before is judged above.")
    counts = Counter(row["verdict"] for row in document["verdicts"])
    lines.append(", ".join(f"{count} {verdict}" for verdict, count in counts.items()) or "no test was judged")
    if num_skipped := len(document["tests"] + document["new"] + document["missing"]) - len(document["verdicts"]):
        lines.append(f"{num_skipped} tests are skipped on both sides, or never call benchmark there")
    if changed := document["changed"]:
        lines.append(
            f"{len(changed)} tests were changed themselves, and may time different work: {one_line(changed[0])} ..."
        )
    commit, base = document["commit_info"], document["base"]
    if commit["id"] == base["id"] and not commit["dirty"]:
        lines.append("the base is the candidate: every verdict but SAME and AMBIGUOUS would be a false one")
    return [*lines, *document["left_out"]]


def suite_markdown(document: Document) -> str:
    """Heading, table and remarks for a step summary."""
    heading = Table(name="", columns=(suite_title(document),), rows=()).as_markdown().splitlines()[0].strip("| ")
    remarks = Table(
        name="", columns=("remarks",), rows=tuple((line,) for line in suite_remarks(document))
    ).as_markdown()
    return f"### {heading}\n\n{suite_table(document).as_markdown()}\n{remarks}"


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    bounds = f"{row['lower']:.3f} .. {row['upper']:.3f}" if row["lower"] is not None else "-"
    needed = f"{row['num_launches_needed']} launches would settle it" if row["num_launches_needed"] else ""
    times = (format_seconds(row["median_s"][side]) if side in row["median_s"] else "-" for side in (BASE, CANDIDATE))
    return (
        row["case"],
        row["verdict"],
        *times,
        f"{row['ratio']:.3f}" if row["ratio"] is not None else "-",
        bounds,
        str(row["num_launches"]),
        "; ".join(one_line(part) for part in (row["reason"], needed) if part),
    )
