"""A gate document as tables for a terminal and as Markdown for a step summary. Text from files is escaped."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from kinetics.gate.circumstances import in_words
from kinetics.gate.decision import Verdict
from kinetics.gate.error_rates import clopper_pearson
from kinetics.gate.evidence import BASE, CANDIDATE
from kinetics.gate.gate_file import Mode
from kinetics.gate.referee import referee_remarks
from kinetics.gate.union import BaseGrid, grid_remarks
from kinetics.results.store import Document
from kinetics.specs.units import format_seconds

_SELF_TEST_COLUMNS = ("case", "launch SD", "margin", "sees from", "false alarms, 1 look", "confirmed", "meas/pred")
_MAX_PARTS = 4
_COLOURS = {
    Verdict.SAME: "green",
    Verdict.FAST: "cyan",
    Verdict.SLOW: "red",
    Verdict.MISSING: "red",
    Verdict.WRONG: "red",
}


def verdict_table(document: Document) -> Table:
    """One line per case."""
    table = Table(title=escape(title(document)), title_justify="left", box=None, pad_edge=False)
    columns, rows = _verdict_rows(document)
    for name in columns:
        table.add_column(name, overflow="fold")
    for case, verdict, *rest in rows:
        colour = _COLOURS.get(Verdict(verdict), "yellow")
        table.add_row(escape(case), f"[{colour}]{verdict}[/]", *map(escape, rest))
    return table


def self_test_table(document: Document) -> Table:
    """What identical code showed, one line per case."""
    table = Table(title=escape(title(document)), title_justify="left", box=None, pad_edge=False)
    for name in _SELF_TEST_COLUMNS:
        table.add_column(name, overflow="fold")
    for row in document["self_tests"]:
        table.add_row(*map(escape, _self_test_cells(row)))
    return table


def markdown(document: Document) -> str:
    """The document for a step summary: heading, table, remarks."""
    is_self_test = document["mode"] == Mode.SELF_TEST.value
    columns, rows = (
        (_SELF_TEST_COLUMNS, [_self_test_cells(row) for row in document["self_tests"]])
        if is_self_test
        else _verdict_rows(document)
    )
    lines = [f"### {plain_cell(title(document))}", "", _line(columns), _line(["---"] * len(columns))]
    lines += [_line(row) for row in rows]
    return "\n".join([*lines, "", *(f"- {plain_cell(remark)}" for remark in remarks(document))]) + "\n"


def title(document: Document) -> str:
    """What was compared, where, and the outcome in one line."""
    candidate = document["commit_info"]["id"][:7] + ("-dirty" if document["commit_info"]["dirty"] else "")
    device, launches = document["machine_info"]["device"], document["settings"]["num_launches"]
    match Mode(document["mode"]):
        case Mode.SELF_TEST:
            base = document["base"]["id"][:7]
            return f"Gate self test: {base} against itself on {device}, {launches} launches"
        case Mode.STORED:
            return f"Gate: {candidate} against {len(document['baseline_files'])} stored files on {device}"
        case Mode.LOCKSTEP:
            against = f"Gate: {candidate} against {document['base']['id'][:7]} on {device}"
            minutes = document["settings"].get("minutes")
            return f"{against}, {launches} launches a look" if minutes is None else f"{against}, {minutes:g} minutes"


def remarks(document: Document) -> list[str]:
    """What a reader must know besides the table."""
    found = []
    if document.get("lost"):
        found.append(f"The run ended early: {document['lost']}. What was measured before is judged above.")
    if document.get("circumstances") and document["runs"]:
        found.append(in_words(document["circumstances"]))
    if document["mode"] == Mode.SELF_TEST.value:
        return [*found, *_self_test_remarks(document)]
    counts = {
        verdict.value: sum(row["verdict"] == verdict.value for row in document["verdicts"]) for verdict in Verdict
    }
    found.append(", ".join(f"{count} {name}" for name, count in counts.items() if count))
    found += grid_remarks(BaseGrid(**document.get("base_grid", {})))
    found += referee_remarks(document.get("referee", {}))
    found += _code_remarks(document)
    found += _open_remark(document)
    for row in document["verdicts"]:
        found += _residual_remark(row)
    disturbed = [run for run in document["runs"] if run["disturbance"]]
    if disturbed:
        found.append(
            f"{len(disturbed)} of {len(document['runs'])} records do not count; first: {disturbed[0]['disturbance']}"
        )
    return found


def _verdict_rows(document: Document) -> tuple[list[str], list[list[str]]]:
    """Headings and cells; a column in which no case has anything is left out."""
    cells = [_verdict_cells(row) for row in document["verdicts"]]
    optional = {"budget", "sees from"}
    names = [name for name in _VERDICT_COLUMNS if name not in optional or any(one[name] != "-" for one in cells)]
    return names, [[one[name] for name in names] for one in cells]


_VERDICT_COLUMNS = (
    "case", "verdict", "base", "candidate", "ratio", "99 % bounds", "budget", "sees from", "launches", "why",
)  # fmt: skip


def _verdict_cells(row: Mapping[str, Any]) -> dict[str, str]:
    bounds = f"{row['lower']:.3f} .. {row['upper']:.3f}" if row["lower"] is not None else "-"
    needed = f"{row['num_launches_needed']} launches would settle it" if row["num_launches_needed"] else ""
    budget = row.get("budget")
    cells = (
        row["case"],
        row["verdict"],
        format_seconds(row["median_s"][BASE]) if BASE in row["median_s"] else "-",
        format_seconds(row["median_s"][CANDIDATE]) if CANDIDATE in row["median_s"] else "-",
        f"{row['ratio']:.3f}" if row["ratio"] is not None else "-",
        bounds,
        f"+{100 * budget:g} %" if budget is not None else "-",
        f"+{100 * row['detectable']:.1f} %" if row["detectable"] is not None else "-",
        str(row["num_launches"] or "-"),
        "; ".join(part for part in (row["reason"], needed) if part),
    )
    return dict(zip(_VERDICT_COLUMNS, cells, strict=True))


def _open_remark(document: Document) -> list[str]:
    """How many more minutes the open cases ask for, at the pace of this run."""
    rows = [row for row in document["verdicts"] if row["verdict"] == Verdict.AMBIGUOUS.value]
    if not rows or document["settings"].get("minutes") is None or not document["runs"]:
        return []
    told = [row["num_launches_needed"] - row["num_launches"] for row in rows if row["num_launches_needed"]]
    minutes = sum(told) * document["wall_s"] / len(document["runs"]) / 60
    beyond = len(rows) - len(told)
    return [
        f"{len(rows)} cases were open when {document['settings']['minutes']:g} minutes or the launches ended"
        + (f"; about {minutes:.1f} more minutes would decide {len(told)} of them: raise --minutes" if told else "")
        + (f"; {beyond} spread too much to be decided here: quiet the machine" if beyond else "")
    ]


def _code_remarks(document: Document) -> list[str]:
    """Why cases were timed, and why their instructions were not counted; one line a reason."""
    cases: dict[str, list[str]] = {}
    for name, one in document.get("identity", {}).items():
        if not one["is_same"]:
            rest = len(one["differing"]) - _MAX_PARTS
            parts = ", ".join(one["differing"][:_MAX_PARTS]) + (f" and {rest} more" if rest > 0 else "")
            cases.setdefault(one["reason"] or f"not the same code: {parts}", []).append(name)
    timed = [f"Timed: {', '.join(names)}; {why}" for why, names in cases.items()]
    uncounted = {one["reason"] for one in document.get("instructions", {}).values() if one["reason"]}
    return [*timed, *sorted(uncounted)]


def _residual_remark(row: Mapping[str, Any]) -> list[str]:
    ratio, band = row["measured_over_predicted"], row["residual_band"]
    if ratio is None or band is None or band[0] <= ratio <= band[1]:
        return []
    return [f"{row['case']}: measured / predicted is {ratio:.2f}, outside its band of {band[0]:.2f} to {band[1]:.2f}"]


def _self_test_cells(row: Mapping[str, Any]) -> list[str]:
    first, confirmed = row["first_look_false_alarms"], row["confirmed_false_alarms"]
    return [
        row["case"],
        f"{100 * row['launch_sd']:.2f} %",
        f"{100 * row['margin']:.1f} %",
        f"+{100 * row['detectable']:.1f} %",
        str(clopper_pearson(first, row["num_launches"])),
        str(clopper_pearson(confirmed, row["num_launches"])),
        f"{row['residual_band'][0]:.2f} .. {row['residual_band'][1]:.2f}",
    ]


def _self_test_remarks(document: Document) -> list[str]:
    tests = document["self_tests"]
    if not tests:
        return ["No case has launches enough for two looks."]
    most = max(row["num_launches"] for row in tests)
    rates = {
        name: clopper_pearson(statistics.fmean(row[key] for row in tests), most)
        for name, key in (("at one look", "first_look_false_alarms"), ("confirmed", "confirmed_false_alarms"))
    }
    per_look = document["settings"]["num_launches_per_look"]
    return [
        *(f"False alarms, mean of all cases, {name}: {rate}" for name, rate in rates.items()),
        f"Decisions of {per_look} launches a look, drawn from these launches, each half at the margin of the other. "
        f"Intervals take every launch for a trial; a confirmed decision takes {2 * per_look}, so the truth may lie "
        "further off. 'sees from': the slow-down found with a power of 0.8, both looks agreeing.",
    ]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(plain_cell(cell) for cell in cells) + " |"


def plain_cell(text: str) -> str:
    """Text that no Markdown table, and no HTML in it, takes for its own."""
    escapes = (("&", "&amp;"), ("\\", "&#92;"), ("<", "&lt;"), ("|", "\\|"), ("[", "\\["), ("\n", " "))
    for character, replacement in escapes:
        text = text.replace(character, replacement)
    return text
