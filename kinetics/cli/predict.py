"""The verb `predict`: how long a step takes there, part by part, what fits, and what a token costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import typer

from kinetics.cli.errors import one_line_errors
from kinetics.cli.option_class import options_from
from kinetics.cli.option_types import is_file_name
from kinetics.cli.predict_options import (
    OF_CEILINGS,
    OF_STEPS,
    STEP,
    PredictOptions,
    SortBy,
    check_meant,
    listed,
    read_answers,
    read_sweep,
)

if TYPE_CHECKING:
    from kinetics.prediction.predict import Target
    from kinetics.prediction.step_sweep import Sweep, SweepRow

EXIT_DOES_NOT_FIT: Final = 1


@options_from(PredictOptions)
def predict(options: PredictOptions) -> None:
    """Predict decode steps, or one layer's attention, on named devices or here: times, memory, tokens, dollars.

    Steps on named devices are composed of fits of kernels that others measured there, each with its source and with
    the band that its held-out errors make; what was not measured is a lower bound by data sheet, and says so.
    """
    with one_line_errors():
        is_step = options.operation == STEP and options.on != "here" and not is_file_name(options.on)
        check_meant(options, OF_CEILINGS if is_step else OF_STEPS)
        if is_step:
            some_fit = _predict_steps(options)
        else:
            some_fit = True
            _predict_by_ceilings(options)
    if not some_fit:
        raise typer.Exit(EXIT_DOES_NOT_FIT)


def _predict_steps(options: PredictOptions) -> bool:
    """Print every step asked for; whether any of them fits into memory."""
    from kinetics.prediction.step_sweep import sweep_rows
    from kinetics.prediction.sweep_tables import row_document, sweep_table

    sweep = read_sweep(options)
    rows = _sorted(list(sweep_rows(sweep)), options.sort)
    answers = read_answers(options)
    table = sweep_table(rows, **answers)
    if options.csv is not None:
        from kinetics.files.atomic import write_text

        write_text(options.csv, table.as_csv())
    if options.figure is not None:
        from kinetics.report.figure_file import check_can_draw, save_figure
        from kinetics.report.predicted_steps import draw_steps

        check_can_draw()
        save_figure(draw_steps(rows, title=f"{sweep.architecture.name}, {options.framework} kernels"), options.figure)
    if options.as_json:
        document = {
            "schema": 1,
            "model": sweep.architecture.name,
            "steps": [row_document(row, **answers) for row in rows],
        }
        _print_json(document)
    else:
        _print_steps(sweep, rows, answers)
    return any(row.fits for row in rows)


def _print_steps(sweep: Sweep, rows: list[SweepRow], answers: dict[str, float]) -> None:
    from kinetics.cli.tables import print_table
    from kinetics.prediction.sweep_tables import (
        PART_COLUMNS,
        SHARED,
        SWEEP_COLUMNS,
        misfits,
        parts_table,
        reading_table,
        remarks,
    )

    for line in misfits(rows):
        typer.echo(f"DOES NOT FIT: {line}", err=True)
    print_table(reading_table(rows, **answers), SWEEP_COLUMNS, title=sweep.architecture.name, shared=SHARED)
    cases = {(row.device.name, row.num_devices, row.query.batch, row.query.context_len) for row in rows}
    if len(cases) == 1:
        for row in rows:
            table = parts_table(row)
            print_table(table, PART_COLUMNS, title=table.name)
    typer.echo("\n".join(remarks(sweep, rows)))


def _sorted(rows: list[SweepRow], by: SortBy) -> list[SweepRow]:
    """Rows in the order asked for, those that fit first unless the order is the given one.

    Raises: ValueError for an order by price without prices.
    """
    if by is SortBy.GIVEN:
        return rows
    if by is SortBy.PRICE and any(row.dollars_per_million_tokens is None for row in rows):
        raise ValueError("--sort price needs --dollars-per-hour of every device, got a device without one")
    keys = {
        SortBy.TIME: lambda row: row.time.seconds,
        SortBy.TOKENS: lambda row: -row.tokens_per_s,
        SortBy.PRICE: lambda row: row.dollars_per_million_tokens,
    }
    return sorted(rows, key=lambda row: (not row.fits, keys[by](row)))


def _predict_by_ceilings(options: PredictOptions) -> None:
    """One layer or step by measured ceilings, or by data sheet alone: a lower bound."""
    from kinetics.prediction.predict import PredictedCase, predict_case
    from kinetics.specs.counts import parse_count
    from kinetics.specs.units import GIGA
    from kinetics.tables.document import document_lines

    asked = PredictedCase(
        model=options.model, operation="step_dense" if options.operation == STEP else options.operation,
        batch=parse_count(options.batch), context_len=parse_count(options.context),
        kv_budget=parse_count(options.kv_budget), page_size=options.page_size, num_devices=parse_count(options.tp),
        link_bytes_per_s=None if options.link_gb_per_s is None else options.link_gb_per_s * GIGA,
    )  # fmt: skip
    if asked.num_devices > 1 and not asked.operation.startswith("step"):
        raise ValueError(f"--tp must be 1 for one layer alone, got {asked.num_devices}; predict a step: step_dense")
    targets = [_target(name, options.device) for name in listed(options.on, "--on")]
    found = [predict_case(asked, target) for target in targets]
    if options.as_json:
        _print_json(found[0] if len(found) == 1 else {"schema": 1, "predictions": found})
        return
    for predicted in found:
        typer.echo("\n".join(document_lines(predicted)))


def _target(name: str, device: str) -> Target:
    """The device of a name: of this machine, of a result file, or of a data sheet."""
    from kinetics.prediction.predict import data_sheet_target

    if name == "here":
        return _this_machine(device)
    return _measured_there(Path(name)) if is_file_name(name) else data_sheet_target(name)


def _measured_there(path: Path) -> Target:
    """The device that a result file was measured on, by the ceilings in it.

    Raises: DataFileError if the file tells no ceilings or no memory.
    """
    from dataclasses import fields

    from kinetics.files.reading import DataFileError
    from kinetics.prediction.predict import Target
    from kinetics.results.reader import read_result_files
    from kinetics.specs.ceilings import Ceilings

    file = read_result_files([path])[0]
    known: dict[str, Any] = {"cache_bytes": 0, **file.ceilings}
    needed = [field.name for field in fields(Ceilings)]
    missing = [name for name in needed if known.get(name) is None]
    memory_bytes = file.identity.facts.get("total_memory_bytes")
    if missing or memory_bytes is None:
        what = missing[0] if missing else "total_memory_bytes"
        raise DataFileError(f"{path}: must tell its device's {what}, got none; measure again with kinetics bench")
    return Target(
        name=file.device, dtype=str(known.get("dtype") or "float32"), memory_bytes=int(memory_bytes),
        ceilings=Ceilings(**{name: known[name] for name in needed}), source=f"measured, {path.name}",
    )  # fmt: skip


def _this_machine(device: str) -> Target:
    """The device at hand, probed now."""
    from kinetics.machine.device import available_bytes, resolve_device
    from kinetics.machine.probe import probe as measure_ceilings
    from kinetics.prediction.predict import Target
    from kinetics.specs.dtypes import default_dtype

    resolved = resolve_device(device)
    dtype = default_dtype(resolved.kind)
    return Target(
        name=resolved.name, dtype=dtype, ceilings=measure_ceilings(resolved, dtype).ceilings,
        memory_bytes=available_bytes(resolved), source="measured now",
    )  # fmt: skip


def _print_json(document: dict[str, Any]) -> None:
    from kinetics.files.atomic import to_strict

    print(json.dumps(to_strict(document), indent=1, allow_nan=False))
