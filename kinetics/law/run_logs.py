"""From a folder of logs to written tables and a figure: what `kinetics law --traces` does.

What is computed lives in `options` and `frontiers`; what is asked comes from the command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kinetics.cost.query import Mode
from kinetics.law.accuracy import accuracy_tables
from kinetics.law.log_frontiers import MEASURED, trace_tables
from kinetics.law.log_options import Log, Spending, spendings
from kinetics.law.measured_prices import read_measured_device
from kinetics.law.request import LawOutcome, LawRequest
from kinetics.law.sources import Samples, read_samples
from kinetics.tables.table import Table, write_tables

FIGURE: Final = "accuracy_per_cost"
_PRINTED: Final = ("accuracy", "sparse_against_dense", "choice_changes", "your_hardware")


def run_trace_law(request: LawRequest) -> LawOutcome:
    """Price every way to spend that the logs answer, and write tables and figure.

    Raises: ValueError for options that do not fit together; DataFileError for logs that cannot be used.
    """
    _refuse_other_options(request)
    samples = read_samples(request)
    device = read_measured_device(request.measured) if request.measured else None
    options = spendings(logs_of(samples), batch=request.batch, device=device)
    tables = [*trace_tables(options, seed=request.seed), accuracy_tables(samples.sets, seed=request.seed)[0]]
    written = write_tables(tables, request.out)
    source = f"{len(samples.trace_files)} log(s)"
    figures, remarks = _draw(options, request, source)
    remarks += [f"left out: {item}" for item in samples.left_out] + list(samples.notes)
    document = {
        "source": source,
        "tables": {table.name: _records(table) for table in tables if table.prints_markdown},
        "files": [str(path) for path in [*written, *figures]],
        "left_out": list(samples.left_out),
    }
    shown = [table for table in tables if table.name in _PRINTED]
    text = "\n".join([f"source: {source}", *(f"\n{t.name}\n{t.as_text()}" for t in shown), f"\nfiles: {request.out}"])
    return LawOutcome(document=document, text=text, remarks=tuple(remarks), has_failed=bool(samples.left_out))


def logs_of(samples: Samples) -> list[Log]:
    """The logs whose models' shapes are known.

    Raises: ValueError if there is none.
    """
    logs = [
        Log(file=file, spec=samples.specs[file.samples.model])
        for file in samples.trace_files
        if file.samples.model in samples.specs
    ]
    if not logs:
        raise ValueError("no model's architecture is known, so nothing has a cost; say --architecture NAME=SPEC")
    return logs


def _refuse_other_options(request: LawRequest) -> None:
    """Logs are priced in every way at once; options that choose one way belong to the other sources."""
    for flag, given in (
        ("FILES", request.files), ("--fetch", request.fetch), ("--on", request.on), ("--longest",
        request.reads_prompt_to_longest), ("--mode paper", request.mode is Mode.PAPER),
        ("--dense-layers", request.num_dense_layers), ("--grade-cuts", request.grades_cuts),
    ):  # fmt: skip
        if given:
            raise ValueError(f"{flag} does not go with --traces, which prices logs in every way; leave one of them out")


def _draw(options: Sequence[Spending], request: LawRequest, source: str) -> tuple[list[Path], list[str]]:
    """The figure, or the reason why there is none."""
    if not request.draws_figures:
        return [], []
    from kinetics.law.plots import is_plotting_possible, plot_traces, save_figure

    if not is_plotting_possible():
        return [], ["no figure: matplotlib is not installed; pip install 'kinetics-bench[report]'"]
    remarks = [] if any(option.cost[MEASURED] is not None for option in options) else ["no log tells measured seconds"]
    return save_figure(plot_traces(options, title=source, seed=request.seed), request.out, FIGURE), remarks


def _records(table: Table) -> list[dict[str, object]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]
