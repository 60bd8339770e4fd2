"""A comparison on one screen: who is faster by how much, where that is most so, from which context sparse pays.

Everything else stands in the tables; nothing is computed here that they do not hold.
"""

from __future__ import annotations

import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

from kinetics.compare.comparison import FASTEST, Comparison, Entry, MatchedCase
from kinetics.compare.tables import comparison_tables
from kinetics.results.reader import ResultFile
from kinetics.tables.quantity import Quantity, show, tell
from kinetics.tables.table import Table

WIDTH: Final = 80
_MAX_EXTREMES: Final = 3
_MAX_REMARKS: Final = 4
_MAX_CHARS: Final = 320


def summary(comparison: Comparison, notes: Sequence[str]) -> str:
    """The summary as lines of at most 80 characters."""
    tables = {table.name: table for table in comparison_tables(comparison)}
    parts = [
        ("", [_verdict(row) for row in _records(tables["ratios"])]),
        ("Farthest from the base", list(_extremes(comparison))),
        ("Sparse attention pays", list(_crossovers(tables.get("crossovers")))),
        ("Median measured over predicted, by operation", list(_predictions(tables.get("predictions")))),
        ("Files", [_file_line(file) for file in comparison.files]),
        ("To know before believing a ratio", _few(notes)),
        ("", [_left_out(comparison), "All tables: --all; for programs: --format csv or json."]),
    ]
    return "\n\n".join(_paragraph(title, lines) for title, lines in parts if lines) + "\n"


def _paragraph(title: str, lines: Sequence[str]) -> str:
    indent = "  " if title else ""
    wrapped = [
        textwrap.fill(line, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False)
        for line in lines
    ]
    return "\n".join([title, *wrapped] if title else wrapped)


def _records(table: Table) -> Iterator[dict[str, Any]]:
    return (dict(zip(table.columns, row, strict=True)) for row in table.rows)


def _verdict(row: dict[str, Any]) -> str:
    """`B H200 takes 1.13 times as long as A L40S over 14 cases (mean; 0.96 to 1.53).`"""
    mean, low, high = (row[f"{name}_ratio"] for name in ("geometric_mean", "smallest", "largest"))
    base, other = (row[name].partition(" (")[0] for name in ("base", "file"))
    if mean < 0.5:
        said = f"is {_factor(1 / mean)} times as fast as {base}"
        spread = f"{_factor(1 / high)} to {_factor(1 / low)}"
    else:
        said, spread = f"takes {_factor(mean)} times as long as {base}", f"{_factor(low)} to {_factor(high)}"
    pairing = ", the fastest provider of each," if row["pairing"] == FASTEST else ""
    counts = (
        "" if row["num_slower"] is None else f"; beyond scatter {row['num_slower']} slower, {row['num_faster']} faster"
    )
    num_odd = row["differs_in"].count(";") + 1 if row["differs_in"] else 0
    odd = f"; differs in {', '.join(part.split()[0] for part in row['differs_in'].split('; '))}" if num_odd else ""
    cases = f"{row['num_cases']} case{'s' * (row['num_cases'] > 1)}"
    return f"{other} {said}{pairing} over {cases} (mean; {spread}{counts}{odd})."


def _factor(value: float) -> str:
    return show(value, Quantity.RATIO) if value >= 0.1 else f"{value:.3f}"


def _extremes(comparison: Comparison) -> Iterator[str]:
    """The cases of each pair of files that are farthest from its base on either side."""
    pairs: dict[tuple[str, str], list[tuple[MatchedCase, Entry]]] = defaultdict(list)
    for case in comparison.cases:
        for entry in case.entries[1:]:
            pairs[case.entries[0].file.letter, entry.file.letter].append((case, entry))
    for (base, other), cases in pairs.items():
        ordered = sorted(cases, key=lambda item: item[1].ratio.ratio if item[1].ratio else 1.0)
        count = _MAX_EXTREMES if comparison.is_of_one_device else 1
        few = [*ordered[:count], *ordered[count:][-count:]]
        for case, entry in few:
            times = [show(one.row.median_s, Quantity.SECONDS) for one in (case.entries[0], entry)]
            ratio = entry.ratio.ratio if entry.ratio else 1.0
            yield f"{case.label}: {base} {times[0]}, {other} {times[1]} ({show(ratio, Quantity.TIME_RATIO)})"


def _crossovers(table: Table | None) -> Iterator[str]:
    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for row in _records(table) if table else ():
        if row["measured_context_len"] is None:
            continue
        budget = show(row["kv_budget"], Quantity.TOKENS)
        predicted = row["predicted_context_len"]
        said = f"b{row['batch']} from {show(row['measured_context_len'], Quantity.COUNT)} keys"
        said += f" (predicted {show(predicted, Quantity.COUNT)})" if predicted else ""
        groups[row["file"], f"{row['provider']} {row['model']}", budget].append(said)
    for (label, who, budget), found in groups.items():
        yield f"{label.split()[0]} {who}, {budget} kept: {'; '.join(found)}"


def _predictions(table: Table | None) -> Iterator[str]:
    by_file: dict[str, list[str]] = defaultdict(list)
    for row in _records(table) if table else ():
        shown = show(row["median_measured_over_predicted"], Quantity.RATIO)
        by_file[row["file"]].append(f"{row['provider']} {row['operation']} {shown}")
    for label, found in by_file.items():
        yield f"{label.split()[0]} {', '.join(found)}"


def _file_line(file: ResultFile) -> str:
    date = f", {file.started_utc[:10]}" if file.started_utc else ""
    read = file.ceilings.get("read_bytes_per_s")
    speed = f", reads {tell(read, Quantity.BYTES_PER_S)} ({file.ceiling_kind})" if read else ""
    return f"{file.label}: {len(file.rows)} rows, {file.origin.value}{date}{speed}"


def _few(notes: Sequence[str]) -> list[str]:
    """The first remarks, shortened; how many more there are."""
    shown = [note if len(note) <= _MAX_CHARS else f"{note[: _MAX_CHARS - 3]}..." for note in notes[:_MAX_REMARKS]]
    more = len(notes) - len(shown)
    return [*shown, f"{more} more: --all"] if more > 0 else shown


def _left_out(comparison: Comparison) -> str:
    counts = Counter(item.kind.value for item in comparison.left_out)
    if not counts:
        return "Every row of every file took part."
    return "Took no part: " + ", ".join(f"{number} {kind}" for kind, number in counts.items()) + "."
