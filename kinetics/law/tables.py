"""A law report as tables: rows of plain values, written as CSV and Markdown, all or nothing.

Numbers are rounded to six digits so that files compare exactly between machines. Which tables there are depends on
the report; what is in them is computed elsewhere.
"""

import csv
import html
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kinetics.answer_cost import CostOptions, answer_work, tera_eflop
from kinetics.attention_policy import AttentionPolicy, BlockTopK, Dense, TopK, policy_label
from kinetics.law.claims import iso_cost_tokens, tokens_for_equal_eflop
from kinetics.law.report import LawReport, ModelResult, TaskResult
from kinetics.model_specs import MODEL_SPECS, find_model
from kinetics.paper import (
    INTENSITY,
    PUBLISHED_BILLION_PARAMETERS,
    attention_to_parameter_ratio,
    num_published_parameters,
    paper_cost,
)
from kinetics.throughput_bounds import speedup_bounds
from kinetics.units import GIBI, TERA
from kinetics.untrusted_text import printable

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
    """A value as tables show it: six significant digits, nothing for None."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)


def law_tables(report: LawReport) -> list[Table]:
    """Every table of a report."""
    tables = [_claims(report), _gains(report), _best_models(report), _models(), _mended_costs(), _throughput_bounds()]
    tables += [_iso_cost(), *([_fits(report)] if report.fits else [])]
    tables += [_frontier(report, task) for task in report.tasks]
    tables += [_curves(task) for task in report.tasks if any(model.low is not None for model in task.models)]
    return tables


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


def write_texts(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write files into a folder, each at once; all are written aside before the first one is replaced.

    Raises: ValueError naming the folder if it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staged = {name: folder / f".{name}.{os.getpid()}.partial" for name in texts}
        for name, text in texts.items():
            staged[name].write_text(text, encoding="utf-8")
        return [staged[name].replace(folder / name) for name in texts]
    except OSError as error:
        raise ValueError(f"output folder {folder} cannot be written ({error.strerror}); choose another") from error


def _claims(report: LawReport) -> Table:
    rows = [
        (c.claim.claim, c.claim.statement, c.claim.published, c.found, c.claim.unit, c.status.value, c.claim.source)
        for c in report.claims
    ]
    columns = ("claim", "what", "published", "found", "unit", "verdict", "where")
    return Table(name="claims", columns=columns, rows=tuple(rows))


def _gains(report: LawReport) -> Table:
    rows = [
        (task.task, gain.attention, gain.cost, gain.cost / report.tera_eflop_per_s, gain.points, gain.dense_maximum,
         gain.speedup)
        for task in report.tasks
        for gain in task.gains
    ]  # fmt: skip
    columns = (
        "task", "attention", "cost_tera_eflop", "seconds", "largest_gain_points", "dense_maximum_accuracy",
        "cost_ratio_at_dense_maximum",
    )  # fmt: skip
    return Table(name="gains", columns=columns, rows=tuple(rows))


def _best_models(report: LawReport) -> Table:
    rows = [
        (task.task, attention, switch.cost, switch.cost / report.tera_eflop_per_s, switch.model)
        for task in report.tasks
        for attention, switches in task.switches.items()
        for switch in switches
    ]
    columns = ("task", "attention", "from_cost_tera_eflop", "from_seconds", "best_model")
    return Table(name="best_models", columns=columns, rows=tuple(rows))


def _frontier(report: LawReport, task: TaskResult) -> Table:
    columns = ["cost_tera_eflop", "seconds"]
    for frontier in task.frontiers:
        columns += [f"{frontier.attention}_accuracy", f"{frontier.attention}_best_model"]
    rows = []
    for i, cost in enumerate(task.frontiers[0].cost.tolist()):
        row: list[Value] = [cost, cost / report.tera_eflop_per_s]
        for frontier in task.frontiers:
            row += [float(frontier.accuracy[i]), frontier.best_model[i]]
        rows.append(tuple(row))
    return Table(name=f"frontier_{task.task}", columns=tuple(columns), rows=tuple(rows), prints_markdown=False)


def _curves(task: TaskResult) -> Table:
    columns = (
        "attention", "model", "lengths", "max_trials", "cost_tera_eflop", "oracle_accuracy", "low", "high",
        "half_oracle_accuracy", "held_out_accuracy", "uniform_accuracy",
    )  # fmt: skip
    rows = [row for model in task.models for row in _curve_rows(model)]
    return Table(name=f"curves_{task.task}", columns=columns, rows=tuple(rows), prints_markdown=False)


def _curve_rows(model: ModelResult) -> list[tuple[Value, ...]]:
    lengths = "estimated" if model.has_estimated_lengths else "tokens"
    optional = (model.low, model.high, model.half_oracle, model.held_out, model.uniform)
    return [
        (
            model.curve.attention, model.curve.model, lengths, model.max_trials, float(cost),
            float(model.curve.accuracy[i]), *(None if values is None else float(values[i]) for values in optional),
        )
        for i, cost in enumerate(model.curve.cost)
    ]  # fmt: skip


def _models() -> Table:
    rows = []
    for spec in MODEL_SPECS:
        billions = PUBLISHED_BILLION_PARAMETERS.get(spec.name)
        phi = [
            attention_to_parameter_ratio(spec, prompt_len=0, generated=n) if billions else None for n in (4096, 32768)
        ]
        rows.append(
            (spec.name, spec.num_parameters / 1e9, spec.num_active_parameters / 1e9,
             spec.matmul_parameters_per_token / 1e9, billions, spec.kv_bytes_per_token(2),
             spec.kv_bytes_per_token(2) * 32768 / GIBI, *phi, iso_cost_tokens(spec, 2e16))
        )  # fmt: skip
    columns = (
        "model", "parameters_1e9", "active_1e9", "matmul_per_token_1e9", "published_1e9", "kv_bytes_per_token",
        "kv_gib_at_32k", "phi_at_4096", "phi_at_32768", "tokens_at_2e16_eflop",
    )  # fmt: skip
    return Table(name="models", columns=columns, rows=tuple(rows))


# Where the published formulas differ most and least from what happens: short and long answers, every kind of policy.
_MENDED_POLICIES: tuple[AttentionPolicy, ...] = (
    Dense(), TopK(kv_budget=128), TopK(kv_budget=1024), BlockTopK(block_size=128, top_blocks=1),
    BlockTopK(block_size=16, top_blocks=64),
)  # fmt: skip


def _iso_cost() -> Table:
    """Tokens of one answer that equal cost buys, by the whole law, by attention memory alone and by FLOP alone."""
    rows = []
    for name in PUBLISHED_BILLION_PARAMETERS:
        model = find_model(name)
        for tera in (100.0, 1000.0, 10000.0, 20000.0):
            eflop = tera * TERA
            by_flop = tokens_for_equal_eflop(model, eflop, intensity=0.0)
            rows.append((name, tera, tokens_for_equal_eflop(model, eflop), iso_cost_tokens(model, eflop), by_flop))
    columns = ("model", "cost_tera_eflop", "tokens", "tokens_by_attention_memory", "tokens_by_flop")
    return Table(name="iso_cost", columns=columns, rows=tuple(rows))


def _fits(report: LawReport) -> Table:
    columns = (
        "model", "task", "costs", "tokens_scale", "tokens_exponent", "kv_budget_scale", "kv_budget_exponent",
        "kv_budget_offset",
    )  # fmt: skip
    rows = [
        (fit.model, fit.task, fit.num_costs, fit.tokens.scale, fit.tokens.exponent, fit.kv_budget.scale,
         fit.kv_budget.exponent, fit.kv_budget.offset)
        for fit in report.fits
    ]  # fmt: skip
    return Table(name="fits", columns=columns, rows=tuple(rows))


def _throughput_bounds() -> Table:
    columns = ("model", "context_len", "kv_budget", "block_size", "largest_batch_on_8_h200", "speedup_at_most")
    return Table(name="throughput_bounds", columns=columns, rows=tuple(speedup_bounds()))


def _mended_costs() -> Table:
    rows = []
    for name in ("Qwen3-0.6B", "Qwen3-8B", "Qwen3-32B"):
        for policy in _MENDED_POLICIES:
            rows += [_mended_row(name, policy, generated=n) for n in (2048, 16384)]
    columns = (
        "model", "policy", "generated", "published_tera_eflop", "exact_over_published",
        "with_matmul_weights", "with_one_dense_layer", "with_sinks_and_partial_block",
    )  # fmt: skip
    return Table(name="mended_costs", columns=columns, rows=tuple(rows))


def _mended_row(name: str, policy: AttentionPolicy, *, generated: int) -> tuple[Value, ...]:
    """One trial after a prompt of 200 tokens; every column adds one correction to those left of it."""
    model = find_model(name)
    published = paper_cost(model, policy, prompt_len=200, generated=generated).total
    steps: list[tuple[AttentionPolicy, int | None, int]] = [
        (policy, num_published_parameters(model), 0),
        (policy, None, 0),
        (policy, None, 1),
        (_as_engines_run(policy), None, 1),
    ]
    ratios = []
    for run, num_parameters, num_dense_layers in steps:
        options = CostOptions(num_dense_layers=num_dense_layers)
        work = answer_work(
            model, run, prompt_len=200, generated=generated, num_parameters=num_parameters, options=options
        )
        ratios.append(tera_eflop(work, intensity=INTENSITY) / published)
    return (name, policy_label(policy), generated, published, *ratios)


def _as_engines_run(policy: AttentionPolicy) -> AttentionPolicy:
    """The policy with the 4 sink tokens, and the partial block, that the published engine always attends."""
    match policy:
        case TopK():
            return TopK(kv_budget=policy.kv_budget, num_sink_tokens=4)
        case BlockTopK():
            return BlockTopK(
                block_size=policy.block_size, top_blocks=policy.top_blocks, num_local=policy.num_local,
                num_sink_tokens=4, keeps_partial_block=True,
            )  # fmt: skip
        case _:
            return policy
