"""Tables that need no samples: models, iso-cost lengths, mended published costs, throughput bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from kinetics.cost.answers import CostOptions, answer_work, tera_eflop
from kinetics.cost.published import (
    INTENSITY,
    PUBLISHED_BILLION_PARAMETERS,
    attention_to_parameter_ratio,
    num_published_parameters,
    paper_cost,
)
from kinetics.law.claims import iso_cost_tokens, tokens_for_equal_eflop
from kinetics.law.throughput_bounds import speedup_bounds
from kinetics.specs.models import MODEL_SPECS, ModelSpec, find_model
from kinetics.specs.policies import AttentionPolicy, BlockTopK, Dense, TopK, policy_label
from kinetics.specs.units import GIBI, TERA
from kinetics.tables.table import Table, Value

ISO_COSTS_TERA_EFLOP: Final = (100.0, 1000.0, 10000.0, 20000.0)
MENDED_MODELS: Final = ("Qwen3-0.6B", "Qwen3-8B", "Qwen3-32B")
MENDED_LENGTHS: Final = (2048, 16384)
MENDED_PROMPT_LEN: Final = 200
ENGINE_SINKS: Final = 4

# Where the published formulas differ most and least from what happens: short and long answers, every kind of policy.
_MENDED_POLICIES: Final[tuple[AttentionPolicy, ...]] = (
    Dense(),
    TopK(kv_budget=128),
    TopK(kv_budget=1024),
    BlockTopK(block_size=128, top_blocks=1),
    BlockTopK(block_size=16, top_blocks=64),
)


def reference_tables() -> list[Table]:
    """All of them; they are the same every time."""
    return [_models(), _mended_costs(), _throughput_bounds(), _iso_cost()]


def _models() -> Table:
    columns = (
        "model", "parameters_1e9", "active_1e9", "matmul_per_token_1e9", "published_1e9", "kv_bytes_per_token",
        "kv_gib_at_32k", "phi_at_4096", "phi_at_32768", "tokens_at_2e16_eflop",
    )  # fmt: skip
    return Table(name="models", columns=columns, rows=tuple(_model_row(spec) for spec in MODEL_SPECS))


def _model_row(spec: ModelSpec) -> tuple[Value, ...]:
    published = PUBLISHED_BILLION_PARAMETERS.get(spec.name)
    sizes = (spec.num_parameters, spec.num_active_parameters, spec.matmul_parameters_per_token)
    kv_bytes = spec.kv_bytes_per_token(2)
    phi = (attention_to_parameter_ratio(spec, prompt_len=0, generated=n) if published else None for n in (4096, 32768))
    billions = (size / 1e9 for size in sizes)
    return (spec.name, *billions, published, kv_bytes, kv_bytes * 32768 / GIBI, *phi, iso_cost_tokens(spec, 2e16))


def _iso_cost() -> Table:
    """Tokens of one answer that equal cost buys, by the whole law, by attention memory alone and by FLOP alone."""
    columns = ("model", "cost_tera_eflop", "tokens", "tokens_by_attention_memory", "tokens_by_flop")
    rows = tuple(
        (
            model.name,
            tera,
            tokens_for_equal_eflop(model, tera * TERA),
            iso_cost_tokens(model, tera * TERA),
            tokens_for_equal_eflop(model, tera * TERA, intensity=0.0),
        )
        for model in map(find_model, PUBLISHED_BILLION_PARAMETERS)
        for tera in ISO_COSTS_TERA_EFLOP
    )
    return Table(name="iso_cost", columns=columns, rows=rows)


def _throughput_bounds() -> Table:
    columns = ("model", "context_len", "kv_budget", "block_size", "largest_batch_on_8_h200", "speedup_at_most")
    return Table(name="throughput_bounds", columns=columns, rows=tuple(speedup_bounds()))


def _mended_costs() -> Table:
    columns = (
        "model", "policy", "generated", "published_tera_eflop", "exact_over_published",
        "with_matmul_weights", "with_one_dense_layer", "with_sinks_and_partial_block",
    )  # fmt: skip
    rows = []
    for model in map(find_model, MENDED_MODELS):
        for policy in _MENDED_POLICIES:
            for n in MENDED_LENGTHS:
                published = paper_cost(model, policy, prompt_len=MENDED_PROMPT_LEN, generated=n).total
                ratios = (cost / published for cost in _mended(model, policy, generated=n))
                rows.append((model.name, policy_label(policy), n, published, *ratios))
    return Table(name="mended_costs", columns=columns, rows=tuple(rows))


def _mended(model: ModelSpec, policy: AttentionPolicy, *, generated: int) -> Iterator[float]:
    """eFLOPs of one trial, with one correction more each time."""
    for run, num_parameters, num_dense_layers in (
        (policy, num_published_parameters(model), 0),
        (policy, None, 0),
        (policy, None, 1),
        (_as_engines_run(policy), None, 1),
    ):
        options = CostOptions(num_dense_layers=num_dense_layers)
        work = answer_work(
            model,
            run,
            prompt_len=MENDED_PROMPT_LEN,
            generated=generated,
            num_parameters=num_parameters,
            options=options,
        )
        yield tera_eflop(work, intensity=INTENSITY)


def _as_engines_run(policy: AttentionPolicy) -> AttentionPolicy:
    """The policy with the sink tokens, and the partial block, that the published engine always attends."""
    if isinstance(policy, BlockTopK):
        return replace(policy, num_sink_tokens=ENGINE_SINKS, keeps_partial_block=True)
    return policy if isinstance(policy, Dense) else replace(policy, num_sink_tokens=ENGINE_SINKS)
