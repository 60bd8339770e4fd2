"""From a request to a written law: reads samples, chooses cost models, makes the report, writes tables and figures.

What is computed lives in `samples` and `logs`; what is asked comes from the command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kinetics.cost.query import Mode
from kinetics.law.accuracy import accuracy_tables
from kinetics.law.charging import charging_of
from kinetics.law.document import law_document
from kinetics.law.log_ceilings import ceiling_remarks, ceiling_table, ceilings_of_devices
from kinetics.law.logs import Log, cost_models_of_logs, lengthenings_of, log_tables, tabulate_logs
from kinetics.law.measured_costs import MEASURED, read_measured_device
from kinetics.law.published import read_published_curves
from kinetics.law.real_gpu_tables import ON_GPUS, real_gpu_tables, unmeasured_remarks
from kinetics.law.real_gpus import BATCHES, paper_on_gpu
from kinetics.law.report import LawReport, published_report
from kinetics.law.request import LawOutcome, LawRequest
from kinetics.law.samples import sample_report
from kinetics.law.silicon_costs import parts_table, pricing_notes
from kinetics.law.sources import Samples, read_samples
from kinetics.law.strategies import Rule
from kinetics.law.tables import law_tables
from kinetics.law.terminal import text_for_people
from kinetics.specs.distribution import install_command
from kinetics.specs.hardware import Accelerator, find_accelerator
from kinetics.tables.table import Table, write_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOGS_FIGURE: Final = "accuracy_per_cost"
_PRINTED: Final = ("answer", "accuracy", "lengthening", "gains", "best_models", "claims")
_PRINTED_OF_LOGS: Final = ("accuracy", "lengthening", "sparse_against_dense", "choice_changes", "your_hardware")
_NO_COSTS: Final = "no model's architecture is known, so nothing has a cost; say --architecture NAME=SPEC"


def run_law(request: LawRequest) -> LawOutcome:
    """Make the report, write its tables and figures, and say what was left out.

    A run has failed if a claim's verdict changed against the record, or if lines were left out.

    Raises: ValueError for options that do not fit together; DataFileError for files that cannot be used;
    RuntimeError for a missing extra.
    """
    if request.traces:
        return _law_of_logs(request)
    if request.framework and not (request.files or request.fetch):
        return _paper_on_gpus(request)
    return _law_of_samples(request) if request.files or request.fetch else _published_law(request)


def _published_law(request: LawRequest) -> LawOutcome:
    """What follows from the published curves alone."""
    _refuse_sample_options(request)
    report = published_report()
    changed = [checked for checked in report.claims if checked.has_changed]
    outcome = _written(report, [], request, left_out=())
    remarks = [f"changed: {c.claim.claim} {c.claim.statement}: {c.status.value}, found {c.found}" for c in changed]
    return replace(outcome, remarks=(*outcome.remarks, *remarks), has_failed=bool(changed))


def _paper_on_gpus(request: LawRequest) -> LawOutcome:
    """The published curves in seconds of devices that others have measured."""
    _refuse_sample_options(replace(request, on="", framework="", batch=0))
    names = [name.strip() for name in request.on.split(",") if name.strip()]
    if not names:
        raise ValueError(f"--framework {request.framework} needs devices, got none; say --on A100,H100,H200,B200")
    devices = list(dict.fromkeys(find_accelerator(name) for name in names))
    curves, batches = read_published_curves(), [request.batch] if request.batch else BATCHES
    pairs = [(device, batch) for device in devices for batch in batches]
    found = [paper_on_gpu(curves, device, request.framework, batch=batch) for device, batch in _with_progress(pairs)]
    tables = real_gpu_tables(curves, found)
    written = write_tables(tables, request.out)
    figures: list[Path] = []
    remarks: list[str] = []
    if request.draws_figures:
        from kinetics.law.real_gpu_figure import plot_real_gpus

        figures, remarks = _save({"real_gpus": partial(plot_real_gpus, found)}, request.out)
    source = "published AIME24 long-CoT curves, each cost as the one answer that it pays for"
    about = [f"source: {source}", f"pricing: fits of {request.framework} kernels, bf16; {ON_GPUS}"]
    return LawOutcome(
        document={
            "source": source,
            "tables": {table.name: _records(table) for table in tables},
            "files": [str(path) for path in [*written, *figures]],
        },
        text=_text(about, tables, ("real_gpu_gains",), f"tables and figures: {request.out}"),
        remarks=(*remarks, *unmeasured_remarks(found)),
        has_failed=False,
    )


def _law_of_samples(request: LawRequest) -> LawOutcome:
    samples = read_samples(request)
    known = [item for item in samples.sets if item.model in samples.specs]
    if not known:
        raise ValueError(_NO_COSTS)
    source = f"{len(known)} sample set(s) from {', '.join(path.name for path in request.files) or request.fetch}"
    charging = charging_of(request)
    report = sample_report(
        known,
        samples.specs,
        charging,
        source=source,
        seed=request.seed,
        dollars_per_hour=request.dollars_per_hour,
        asks_claims=request.asks_claims,
    )
    more = accuracy_tables(samples.sets, seed=request.seed)
    notes = report.notes + samples.notes
    if charging.silicon:
        steps = dict.fromkeys((samples.specs[one.model], one.policy) for one in known)
        more.append(parts_table(charging.silicon, list(steps)))
        notes += tuple(pricing_notes(charging.silicon, known, samples.specs))
    return _written(replace(report, notes=notes), more, request, left_out=samples.left_out)


def _written(report: LawReport, more: Sequence[Table], request: LawRequest, *, left_out: tuple[str, ...]) -> LawOutcome:
    """Write a report's tables and figures."""
    tables = [*law_tables(report), *more]
    written = write_tables(tables, request.out)
    figures, remarks = _draw(report, request)
    about = [f"source: {report.source}", f"pricing: {report.pricing}", f"seconds: on {report.device}"]
    return LawOutcome(
        document=law_document(report)
        | {"answer": [row for table in tables if table.name == "answer" for row in _records(table)]}
        | {"files": [str(path) for path in [*written, *figures]], "left_out": list(left_out)},
        text=_text(about, tables, _PRINTED, f"tables and figures: {request.out}"),
        remarks=(*remarks, *(f"left out: {item}" for item in left_out), *report.notes),
        has_failed=bool(left_out),
    )


def _law_of_logs(request: LawRequest) -> LawOutcome:
    """Charge every strategy that a folder of logs answers, in every way at once."""
    _refuse_choosing_options(request)
    samples = read_samples(request)
    device = read_measured_device(request.measured) if request.measured else None
    logs = logs_of(samples)
    cost_models_of = cost_models_of_logs(logs, batch=request.batch, device=device)
    strategies = tabulate_logs(logs, cost_models_of, seed=request.seed)
    tables = log_tables(logs, strategies, cost_models_of, seed=request.seed, dollars_per_hour=request.dollars_per_hour)
    tables.append(accuracy_tables(samples.sets, seed=request.seed)[0])
    devices = ceilings_of_devices([log.file for log in logs])
    tables += [ceiling_table(devices)] if devices else []
    written = write_tables(tables, request.out)
    source = f"{len(samples.trace_files)} log(s)"
    figures: list[Path] = []
    remarks: list[str] = []
    unlike = ceiling_remarks(devices)
    if request.draws_figures:
        from kinetics.law.plots import plot_lengthening, plot_strategies

        drawn = {LOGS_FIGURE: partial(plot_strategies, strategies.of_rule(Rule.PASS), title=source, seed=request.seed)}
        if lengthenings := lengthenings_of(logs, cost_models_of, seed=request.seed):
            drawn["lengthening"] = partial(plot_lengthening, lengthenings)
        figures, remarks = _save(drawn, request.out)
    if MEASURED not in strategies.cost:
        remarks.append("no log says how long its answers took: measured seconds are missing")
    return LawOutcome(
        document={
            "source": source,
            "tables": {table.name: _records(table) for table in tables if table.prints_markdown},
            "files": [str(path) for path in [*written, *figures]],
            "left_out": list(samples.left_out),
        },
        text=_text(
            [f"source: {source}"],
            tables,
            (*_PRINTED_OF_LOGS, "ceilings") if unlike else _PRINTED_OF_LOGS,
            f"files: {request.out}",
        ),
        remarks=(*remarks, *unlike, *(f"left out: {item}" for item in samples.left_out), *samples.notes),
        has_failed=bool(samples.left_out),
    )


def _with_progress(pairs: Sequence[tuple[Accelerator, int]]) -> Iterable[tuple[Accelerator, int]]:
    """A line on a terminal that says how many devices and batches are done."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(pairs, "devices and batches", console=console, transient=True, disable=not console.is_terminal)


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
        raise ValueError(_NO_COSTS)
    return logs


def _refuse_sample_options(request: LawRequest) -> None:
    """The published curves come with their costs; options that would charge them anew need samples."""
    for flag, given in (
        ("--on", request.on), ("--framework", request.framework), ("--tp", request.num_devices != 1),
        ("--measured", request.measured), ("--mode paper", request.mode is Mode.PAPER),
        ("--batch", request.batch), ("--dense-layers", request.num_dense_layers), ("--tokenizer", request.tokenizer),
        ("--architecture", request.architectures), ("--problems", request.problems),
    ):  # fmt: skip
        if given:
            raise ValueError(f"{flag} needs samples, got none: the published curves carry their costs; name files")


def _refuse_choosing_options(request: LawRequest) -> None:
    """Logs are charged in every way at once; options that choose one way belong to the other sources."""
    for flag, given in (
        ("FILES", request.files), ("--fetch", request.fetch), ("--on", request.on),
        ("--framework", request.framework), ("--tp", request.num_devices != 1),
        ("--longest", request.reads_prompt_to_longest), ("--mode paper", request.mode is Mode.PAPER),
        ("--dense-layers", request.num_dense_layers), ("--grade-cuts", request.grades_cuts),
    ):  # fmt: skip
        if given:
            raise ValueError(f"{flag} must not go with --traces, which charges logs in every way; leave one out")


def _draw(report: LawReport, request: LawRequest) -> tuple[list[Path], list[str]]:
    """A figure of every task."""
    if not request.draws_figures:
        return [], []
    from kinetics.law.plots import plot_lengthening, plot_task

    figures: dict[str, Callable[[], Figure]] = {
        f"frontier_{task.task}": partial(plot_task, report, task) for task in report.tasks
    }
    if report.lengthenings:
        figures["lengthening"] = partial(plot_lengthening, report.lengthenings)
    return _save(figures, request.out)


def _save(figures: Mapping[str, Callable[[], Figure]], out: Path) -> tuple[list[Path], list[str]]:
    """The files of figures, or the reason why there are none."""
    from kinetics.law.plots import is_plotting_possible, save_figure

    if not is_plotting_possible():
        return [], [f"no figures: matplotlib is not installed; {install_command('report')}"]
    return [path for name, draw in figures.items() for path in save_figure(draw(), out, name)], []


def _text(about: Sequence[str], tables: Sequence[Table], printed: Sequence[str], end: str) -> str:
    """Some of the tables for a terminal."""
    shown = [text_for_people(table) for table in tables if table.name in printed]
    return "\n".join([*about, *filter(None, shown), f"\n{end}"])


def _records(table: Table) -> list[dict[str, object]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]
