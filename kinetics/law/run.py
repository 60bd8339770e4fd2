"""From a request to a written law: reads samples, chooses prices, makes the report, writes tables and figures.

What is computed lives in `law`, `sample_law` and `scaling`; what is asked comes from the command line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kinetics.cost.answers import Combine, CostOptions
from kinetics.cost.published import INTENSITY, TERA_EFLOP_PER_B200_S, num_published_parameters
from kinetics.cost.query import Mode
from kinetics.law.accuracy import accuracy_tables
from kinetics.law.document import law_document
from kinetics.law.measured_prices import read_measured_device, seconds_price
from kinetics.law.prices import exact_price, paper_price
from kinetics.law.report import LawReport, published_report
from kinetics.law.request import LawOutcome, LawRequest
from kinetics.law.samples import Pricing, sample_report
from kinetics.law.sources import Samples, read_samples
from kinetics.law.tables import law_tables
from kinetics.specs.hardware import Precision, find_accelerator
from kinetics.specs.units import TERA
from kinetics.tables.table import Table, write_tables


def run_law(request: LawRequest) -> LawOutcome:
    """Make the report, write its tables and figures, and say what was left out.

    A run has failed if a claim's verdict changed against the record, or if lines were left out.

    Raises: ValueError for options that do not fit together; DataFileError for files that cannot be used;
    RuntimeError for a missing extra.
    """
    has_samples = bool(request.files or request.fetch)
    tables: list[Table] = []
    left_out: tuple[str, ...] = ()
    if has_samples:
        samples = read_samples(request)
        left_out = samples.left_out
        report = _report_samples(samples, request)
        tables = accuracy_tables(samples.sets, seed=request.seed)
    else:
        _refuse_sample_options(request)
        report = published_report()
    tables = law_tables(report) + tables
    written = write_tables(tables, request.out)
    figures, remarks = _draw(report, request)
    changed = [checked for checked in report.claims if checked.has_changed and not has_samples]
    remarks += [f"changed: {c.claim.claim} {c.claim.statement}: {c.status.value}, found {c.found}" for c in changed]
    remarks += [f"left out: {item}" for item in left_out] + list(report.notes)
    document = law_document(report) | {
        "files": [str(path) for path in [*written, *figures]],
        "left_out": list(left_out),
    }
    return LawOutcome(
        document=document,
        text=_text(report, tables, request.out),
        remarks=tuple(remarks),
        has_failed=bool(changed or left_out),
    )


def _refuse_sample_options(request: LawRequest) -> None:
    """The published curves are priced already; options that would price them anew need samples."""
    for flag, given in (
        ("--on", request.on), ("--measured", request.measured), ("--mode paper", request.mode is Mode.PAPER),
        ("--batch", request.batch), ("--dense-layers", request.num_dense_layers), ("--tokenizer", request.tokenizer),
        ("--architecture", request.architectures),
    ):  # fmt: skip
        if given:
            raise ValueError(f"{flag} needs samples, got none: the published curves carry their costs; name files")


def _report_samples(samples: Samples, request: LawRequest) -> LawReport:
    known = [item for item in samples.sets if item.model in samples.specs]
    if not known:
        raise ValueError("no model's architecture is known, so nothing has a cost; say --architecture NAME=SPEC")
    source = f"{len(known)} sample set(s) from {', '.join(path.name for path in request.files) or request.fetch}"
    report = sample_report(known, samples.specs, _pricing(request), source=source, seed=request.seed)
    return replace(report, notes=report.notes + samples.notes)


def _pricing(request: LawRequest) -> Pricing:
    """The prices that the options ask for.

    Raises: ValueError if they ask for two kinds at once.
    """
    if sum((bool(request.on), request.measured is not None, request.mode is Mode.PAPER)) > 1:
        raise ValueError("--on, --measured and --mode paper exclude one another, got more than one; choose one")
    if request.measured is not None:
        return _measured_pricing(request.measured, request)
    if request.mode is Mode.PAPER:
        return _paper_pricing()
    intensity, rate, device = INTENSITY, TERA_EFLOP_PER_B200_S, "B200 as the paper rates it (4,500 TFLOP/s)"
    if request.on:
        accelerator = find_accelerator(request.on)
        intensity = accelerator.intensity(Precision.BF16)
        rate = accelerator.bf16_flop_per_s / TERA
        device = f"{accelerator.name}, dense bf16"
    options = CostOptions(batch=request.batch, num_dense_layers=request.num_dense_layers)
    to_longest = request.reads_prompt_to_longest
    until = "longest" if to_longest else "mean"
    return Pricing(
        eflops=lambda model: exact_price(
            model, intensity=intensity, options=options, reads_prompt_to_longest=to_longest
        ),
        flops=lambda model: exact_price(model, intensity=0.0, options=options),
        hidden=lambda model: exact_price(model, intensity=intensity, options=options, combine=Combine.MAX),
        description=f"exact counts, intensity {intensity:.4g} FLOP/byte, {request.num_dense_layers} dense layers, "
        f"weights shared by {request.batch or 'infinitely many'} answers, matmul weights per token, "
        f"dense prompts read to the {until} length",
        device=device,
        tera_eflop_per_s=rate,
    )


def _paper_pricing() -> Pricing:
    return Pricing(
        eflops=paper_price,
        flops=lambda model: paper_price(model, intensity=0.0),
        # The published code has no such variant; the appendix that does says what it would charge.
        hidden=lambda model: exact_price(
            model, intensity=INTENSITY, combine=Combine.MAX, num_parameters=num_published_parameters(model)
        ),
        description=f"the published formulas as in their code, intensity {INTENSITY} FLOP/byte, smoothed as published",
        device="B200 as the paper rates it (4,500 TFLOP/s)",
        tera_eflop_per_s=TERA_EFLOP_PER_B200_S,
        smooths=True,
    )


def _measured_pricing(path: Path, request: LawRequest) -> Pricing:
    device = read_measured_device(path)
    options = CostOptions(num_dense_layers=request.num_dense_layers)
    intensity = device.matmul_flop_per_s / device.read_bytes_per_s
    return Pricing(
        eflops=lambda model: seconds_price(model, device, num_dense_layers=request.num_dense_layers),
        flops=lambda model: exact_price(model, intensity=0.0, options=options),
        hidden=lambda model: exact_price(model, intensity=intensity, options=options, combine=Combine.MAX),
        description=f"seconds measured on {device.name} ({path.name}), batch {device.batch}, "
        f"{device.element_bytes}-byte elements",
        device=f"{device.name}, measured",
        tera_eflop_per_s=device.matmul_flop_per_s / TERA,
    )


def _draw(report: LawReport, request: LawRequest) -> tuple[list[Path], list[str]]:
    """Figures of every task, or the reason why there are none."""
    if not request.draws_figures:
        return [], []
    from kinetics.law.plots import is_plotting_possible, plot_task, save_figure

    if not is_plotting_possible():
        return [], ["no figures: matplotlib is not installed; pip install 'kinetics-bench[report]'"]
    paths: list[Path] = []
    for task in report.tasks:
        paths += save_figure(plot_task(report, task), request.out, f"frontier_{task.task}")
    return paths, []


def _text(report: LawReport, tables: Sequence[Table], out: Path) -> str:
    """Gains, best models, accuracy and claims for a terminal."""
    shown = [table for table in tables if table.name in ("gains", "best_models", "accuracy", "claims")]
    parts = [f"source: {report.source}", f"pricing: {report.pricing}", f"seconds: on {report.device}"]
    parts += [f"\n{table.name}\n{table.as_text()}" for table in shown]
    parts.append(f"\ntables and figures: {out}")
    return "\n".join(parts)
