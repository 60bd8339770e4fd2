"""The verbs `compare`, `import-latencies` and `report`: options in, tables and files out."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kinetics.cli.errors import one_line_errors
from kinetics.files.printable import printable

if TYPE_CHECKING:
    from kinetics.compare.comparison import Comparison
    from kinetics.tables.table import Table

_SILICON = "silicon"
"""In place of a table: the pairs of dense and sparse modules that come with the suite."""
_MIN_WIDTH = 190  # a wrapped line loses nothing, a column cut to fit does


_NO_CHOICES = (
    "Accuracy per cost is not compared: that needs one law document a device, made by "
    "`kinetics law SAMPLES --measured FILE --json > law.json`, named beside the result files."
)


class Format(Enum):
    """How a comparison is printed."""

    TABLE = "table"
    MARKDOWN = "markdown"
    CSV = "csv"
    JSON = "json"
    BMF = "bmf"


def compare(
    files: Annotated[
        list[Path],
        typer.Argument(help="Two result files or more, the first being the base; and law documents of their devices."),
    ],
    print_as: Annotated[
        Format,
        typer.Option(
            "--format",
            help="table: a summary; markdown or json: everything; csv: one line per case and file; bmf: the last "
            "file's cases, for Bencher.",
        ),
    ] = Format.TABLE,
    shows_all: Annotated[
        bool, typer.Option("--all", help="Every case and table on the terminal, as wide as they are.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of stdout.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """How result files differ, on one screen: across devices by shape, between runs on one device case by case."""
    from kinetics.compare.comparison import compare_files
    from kinetics.compare.summary import summary
    from kinetics.compare.tables import choice_table, choices_for_people, comparison_tables, remarks, tables_for_people
    from kinetics.law.stored_frontiers import choice_remarks, compare_choices, split_law_documents
    from kinetics.results.reader import read_result_files

    with one_line_errors():
        laws, results = split_law_documents(_without_gate_files(files))
        comparison = compare_files(read_result_files(results))
        if print_as is Format.BMF and not as_json:
            _put_metrics(comparison, out)
            return
        wanted, notes = (Format.JSON if as_json else print_as), remarks(comparison)
        is_for_people = wanted in (Format.TABLE, Format.MARKDOWN)
        tables = tables_for_people(comparison) if is_for_people else comparison_tables(comparison)
        choices = choice_table(compare_choices(laws))
        if choices.rows:
            notes += choice_remarks(laws)
            tables.insert(3, choices_for_people(choices) if is_for_people else choices)
        else:
            notes.append(_NO_CHOICES)
        if wanted is Format.TABLE and not shows_all and out is None:
            shown = [f"{_title(table)}\n{table.as_text()}" for table in tables if table.name == "choices"]
            typer.echo("\n\n".join([summary(comparison, [printable(note) for note in notes]), *shown]), nl=False)
            return
        _put(_render(tables, notes, wanted), out)


def import_latencies(
    table: Annotated[
        Path,
        typer.Argument(
            help="Latency table (docs/law.md describes its columns), or silicon: what kinetics silicon shows."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder for one result file per device; a new one in runs/published.")
    ] = None,
    model: Annotated[str, typer.Option(help="Only the head shapes of these models, separated by commas.")] = "",
    batch: Annotated[str, typer.Option(help="Only these batches, separated by commas.")] = "",
    context: Annotated[str, typer.Option(help="Only these contexts, such as 1k,8k,32k.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the files written as JSON.")] = False,
) -> None:
    """Turn published decode latencies into result files, labelled as published, for `compare` and `report`."""
    from kinetics.results.published import LatencySelection
    from kinetics.results.published import import_latencies as write_result_files
    from kinetics.results.published_pairs import import_pairs
    from kinetics.results.silicon_document import committed_pairs
    from kinetics.results.store import fresh_folder
    from kinetics.specs.counts import parse_count

    with one_line_errors():
        selection = LatencySelection(
            models=_listed(model),
            batches=[parse_count(one) for one in _listed(batch)],
            context_lens=[parse_count(one) for one in _listed(context)],
        )
        folder = out or fresh_folder("published")
        if str(table) == _SILICON and not table.exists():
            written = import_pairs(committed_pairs(), folder, selection=selection)
        else:
            written = write_result_files(table, folder, selection=selection)
    if as_json:
        typer.echo(json.dumps({"files": [str(path) for path in written]}))
    else:
        typer.echo("\n".join(printable(str(path)) for path in written))


def report(
    files: Annotated[list[Path], typer.Argument(help="Result files, and documents of `kinetics law --json`.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    baseline: Annotated[Path | None, typer.Option(help="An older result file of a device among them.")] = None,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "Decode attention, measured beside predicted",
    dollars_per_hour: Annotated[
        str, typer.Option(help="Of a device: 3.50 for all, or A=3.50,C=6 by the letters of the files.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """One HTML page of result files: it needs no network and no other file."""
    from kinetics.report.page import write_report
    from kinetics.report.sources import read_sources
    from kinetics.report.whole_steps import parse_prices

    with one_line_errors():
        files = _without_gate_files(files)
        sources = read_sources(files, baseline=baseline)
        write_report(sources, out, title=title, dollars_per_hour=parse_prices(dollars_per_hour, sources.files))
    num_rows = sum(len(file.rows) for file in sources.files)
    if as_json:
        typer.echo(json.dumps({"out": str(out), "files": len(files), "rows": num_rows}))
    else:
        typer.echo(f"{printable(str(out))}: {num_rows} rows of {len(sources.files)} result files")


def _without_gate_files(files: list[Path]) -> list[Path]:
    """The files that hold rows or frontiers; those of the gate, which a glob may have caught, are named on stderr."""
    from kinetics.results.reader import is_gate_file

    gate_files = [path for path in files if is_gate_file(path)]
    for path in gate_files:
        note = f"{path}: left aside, a file of kinetics gate or kinetics gate self-test holds no rows"
        typer.echo(f"kinetics: {printable(note)}", err=True)
    return [path for path in files if path not in gate_files]


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _render(tables: list[Table], notes: list[str], wanted: Format) -> str:
    from kinetics.files.atomic import to_strict
    from kinetics.tables.display import table_records

    if wanted is Format.CSV:
        return next(table for table in tables if table.name == "cases").as_csv()
    if wanted is Format.JSON:
        document: dict[str, Any] = {"schema": 1, "remarks": notes}
        document |= {table.name: table_records(table) for table in tables}
        return json.dumps(to_strict(document), indent=1, allow_nan=False) + "\n"
    if wanted is Format.MARKDOWN:
        from html import escape

        parts = [f"## {_title(table)}\n\n{table.as_markdown()}" for table in tables]
        return "\n".join(["".join(f"> {escape(printable(note), quote=False)}\n>\n" for note in notes), *parts])
    return "\n\n".join([*(f"{_title(table)}\n{table.as_text()}" for table in tables), *map(printable, notes)]) + "\n"


def _put_metrics(comparison: Comparison, out: Path | None) -> None:
    from kinetics.compare.bencher_metrics import bencher_metrics

    _put(json.dumps(bencher_metrics(comparison), indent=1, allow_nan=False) + "\n", out)


def _title(table: Table) -> str:
    return table.name.replace("_", " ").capitalize()


def _put(text: str, out: Path | None) -> None:
    """Print, or write to a file."""
    if out is None:
        typer.echo(text, nl=False)
        return
    from kinetics.files.atomic import write_text

    write_text(out, text)
    typer.echo(f"written: {printable(str(out))}", err=True)
