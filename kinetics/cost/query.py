"""One configuration's cost as a document: what `kinetics cost` prints.

Turns options as people give them into a policy and a count, exact or published, and states every choice beside the
numbers.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from kinetics.cost.answers import Combine, CostOptions, answer_work, tera_eflop
from kinetics.cost.published import num_published_parameters, paper_cost
from kinetics.specs.hardware import Accelerator, Precision, find_accelerator
from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import AttentionPolicy, policy_label
from kinetics.specs.units import TERA


class Mode(Enum):
    """Count what happens, or compute what was published."""

    EXACT = "exact"
    PAPER = "paper"


@dataclass(frozen=True, slots=True, kw_only=True)
class CostQuery:
    """Everything that fixes a cost. `num_parameters` 0 means the mode's own count."""

    model: ModelSpec
    policy: AttentionPolicy
    prompt_len: int
    generated: int
    trials: int
    intensity: float
    num_parameters: int
    mode: Mode
    combine: Combine
    options: CostOptions


def cost_document(query: CostQuery) -> dict[str, Any]:
    """Compute, memory and total cost, and every choice they rest on.

    Raises: ValueError for options that paper mode does not have.
    """
    compute_tflop, memory_bytes, num_parameters = _count(query)
    memory = memory_bytes * query.intensity / TERA
    compute_and_memory = (compute_tflop, memory)
    is_max = query.combine is Combine.MAX
    b200 = find_accelerator("B200")
    dense_bf16 = b200.intensity(Precision.BF16)
    return {
        "compute_tflop": compute_tflop,
        "memory_bytes": memory_bytes,
        "memory_tera_eflop": memory,
        "total_tera_eflop": max(compute_and_memory) if is_max else sum(compute_and_memory),
        "mode": query.mode.value,
        "model": query.model.name,
        "attention": policy_label(query.policy, num_dense_layers=query.options.num_dense_layers),
        "context": query.prompt_len,
        "generated": query.generated,
        "trials": query.trials,
        "intensity_flop_per_byte": query.intensity,
        "num_parameters": num_parameters,
        "combine": query.combine.value,
        "batch": query.options.batch or "infinite",
        "dense_layers": query.options.num_dense_layers,
        "sink_tokens": getattr(query.policy, "num_sink_tokens", 0),
        "partial_block": getattr(query.policy, "keeps_partial_block", False),
        "prefill": query.options.includes_prefill,
        "element_bytes": query.options.element_bytes,
        "memory_tera_eflop_at_b200_dense_bf16": memory_bytes * dense_bf16 / TERA,
        "b200_dense_bf16_flop_per_byte": dense_bf16,
        **_memory_needed(query, b200),
    }


def _memory_needed(query: CostQuery, device: Accelerator) -> dict[str, int]:
    """Cache of one answer at its end, a sparse one's too, and how many such answers fit beside the weights."""
    element_bytes = query.options.element_bytes
    kv_cache_bytes = (query.prompt_len + query.generated) * query.model.kv_bytes_per_token(element_bytes)
    free_bytes = max(0, device.memory_bytes - query.model.num_parameters * element_bytes)
    return {"kv_cache_bytes": kv_cache_bytes, "answers_that_fit_one_b200": free_bytes // max(1, kv_cache_bytes)}


def _count(query: CostQuery) -> tuple[float, int | float, int]:
    """(TFLOP, bytes, parameters counted)."""
    if query.mode is Mode.EXACT:
        num_parameters = query.num_parameters or query.model.matmul_parameters_per_token
        work = answer_work(
            query.model,
            query.policy,
            prompt_len=query.prompt_len,
            generated=query.generated,
            trials=query.trials,
            num_parameters=query.num_parameters or None,
            options=query.options,
        )
        return tera_eflop(work, intensity=0.0), work.num_bytes, num_parameters
    if query.options != CostOptions() or query.combine is not Combine.SUM:
        raise ValueError(
            "paper mode has no --batch, --dense-layers, --prefill or --combine max, got one of them; use --mode exact"
        )
    if query.trials < 1 or query.prompt_len < 0 or query.generated < 0:
        raise ValueError(
            f"context and generated must be at least 0 and trials at least 1, "
            f"got {query.prompt_len}, {query.generated} and {query.trials}"
        )
    num_parameters = query.num_parameters or num_published_parameters(query.model)
    cost = paper_cost(
        query.model,
        query.policy,
        prompt_len=query.prompt_len,
        generated=query.generated,
        trials=query.trials,
        num_parameters=num_parameters,
        intensity=1.0,
    )
    return cost.compute, cost.memory * TERA, num_parameters
