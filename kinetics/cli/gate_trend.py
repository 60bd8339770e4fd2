"""The verb `gate trend`: a folder in, one line a case out, an exit code; computes nothing."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kinetics.files.printable import printable

if TYPE_CHECKING:
    from kinetics.gate.history import History, SeriesKey
    from kinetics.gate.trend import Trend
    from kinetics.tables.table import Table

_COLUMNS = ("case", "runs", "days", "drift", "change", "99 % interval", "canary")


def trend(
    folder: Annotated[
        Path, typer.Argument(help="Folder of result files, of the gate and of benchmarks, of one device.")
    ],
    strict: Annotated[bool, typer.Option(help="Exit 5 if a case is UNCLEAR or has too few runs.")] = False,
    markdown_file: Annotated[
        Path | None, typer.Option("--markdown", help="Also write the table as Markdown here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")] = False,
) -> None:
    """Did a case get slower bit by bit, over weeks of stored runs? Exit 0 no, 1 SLOWER, 3 nothing to judge."""
    from kinetics.files.atomic import check_can_write, to_strict, write_text
    from kinetics.gate.history import read_history
    from kinetics.gate.trend import exit_code, trend_of

    check_can_write(markdown_file)
    history = read_history(folder)
    for line in history.left_out:
        typer.echo(f"kinetics: {printable(line)}", err=True)
    trends = {key: trend_of(points) for key, points in history.series.items()}
    tables = _tables(trends)
    if markdown_file:
        write_text(markdown_file, "\n".join(f"### {title}\n\n{table.as_markdown()}" for title, table in tables.items()))
    if as_json:
        document = {"schema": 1, "folder": str(folder), "left_out": history.left_out, "trends": _rows(trends)}
        typer.echo(json.dumps(to_strict(document), indent=1, allow_nan=False))
    else:
        for title, table in tables.items():
            typer.echo(f"{printable(title)}\n{table.as_text()}\n")
    typer.echo(_summary(folder, history, trends), err=True)
    raise typer.Exit(exit_code(list(trends.values()), is_strict=strict))


def _tables(trends: dict[SeriesKey, Trend]) -> dict[str, Table]:
    """One table a device and way of timing, under its title, of the cases that could be judged."""
    from kinetics.gate.trend import Drift
    from kinetics.tables.table import Table

    rows: dict[str, list[tuple[str, ...]]] = {}
    for key, one in trends.items():
        if one.drift is not Drift.TOO_FEW:
            timed = "timed beside its twin, by the gate" if key.source == "gate" else "timed alone, by benchmarks"
            rows.setdefault(f"{key.device}, {timed}", []).append(_cells(key.case, one))
    return {title: Table(name="trend", columns=_COLUMNS, rows=tuple(found)) for title, found in rows.items()}


def _cells(case: str, one: Trend) -> tuple[str, ...]:
    interval = f"{_percent(one.lower)} .. {_percent(one.upper)}" if one.lower is not None else "-"
    return (
        case,
        str(one.num_runs),
        f"{one.span_days:.1f}",
        one.drift.value,
        _percent(one.change),
        interval,
        _percent(one.canary_change),
    )


def _percent(change: float | None) -> str:
    return "-" if change is None else f"{100 * change:+.1f} %"


def _rows(trends: dict[SeriesKey, Trend]) -> list[dict[str, Any]]:
    return [{**key._asdict(), **asdict(one)} for key, one in trends.items()]


def _summary(folder: Path, history: History, trends: dict[SeriesKey, Trend]) -> str:
    """How many cases drift which way, and why some are not judged: one line."""
    from kinetics.gate.trend import Drift

    found = Counter(one.drift for one in trends.values())
    few = max(
        (one for one in trends.values() if one.drift is Drift.TOO_FEW), key=lambda one: one.num_runs, default=None
    )
    parts = [f"{count} {drift.value}" for drift, count in found.items() if drift is not Drift.TOO_FEW]
    if few:
        parts.append(f"{found[Drift.TOO_FEW]} not judged (at best {few.reason})")
    plural = "s" if history.num_files > 1 else ""
    return f"kinetics: {printable(str(folder))}: {history.num_files} run{plural}: {', '.join(parts)}"
