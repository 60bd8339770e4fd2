"""A law report as tables: rows of plain values, written as CSV and Markdown, all or nothing.

Numbers are rounded to six digits so that files compare exactly between machines. Which tables there are depends on
the report; what is in them is computed elsewhere.
"""

from kinetics.cost.answers import CostOptions, answer_work, tera_eflop
from kinetics.cost.published import (
    INTENSITY,
    PUBLISHED_BILLION_PARAMETERS,
    attention_to_parameter_ratio,
    num_published_parameters,
    paper_cost,
)
from kinetics.law.claims import iso_cost_tokens, tokens_for_equal_eflop
from kinetics.law.report import LawReport, ModelResult, TaskResult
from kinetics.law.throughput_bounds import speedup_bounds
from kinetics.specs.models import MODEL_SPECS, find_model
from kinetics.specs.policies import AttentionPolicy, BlockTopK, Dense, TopK, policy_label
from kinetics.specs.units import GIBI, TERA
from kinetics.tables.table import Table, Value


def law_tables(report: LawReport) -> list[Table]:
    """Every table of a report."""
    tables = [_claims(report), _gains(report), _best_models(report), _models(), _mended_costs(), _throughput_bounds()]
    tables += [_iso_cost(), *([_fits(report)] if report.fits else [])]
    tables += [_frontier(report, task) for task in report.tasks]
    tables += [_curves(task) for task in report.tasks if any(model.low is not None for model in task.models)]
    return tables


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
