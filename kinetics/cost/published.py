"""The published cost formulas as their code computes them, mistakes included, and the published constants.

For checking published numbers and nothing else: `kinetics.cost.answers` counts what really happens. The docstrings
name where the two part. Lengths are tokens, results are in 1e12 FLOP and 1e12 eFLOP.

Source: github.com/Infini-AI-Lab/Kinetics, cost_model/utils.py at af7fa57.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import AttentionPolicy, BlockSummary, BlockTopK, Dense, Local, TopK

INTENSITY: Final = 562.5
"""FLOP per byte: 4,500 TFLOP/s over 8 TB/s. The rate is fp8's (or bf16's with sparsity) and the bytes are bf16's;
dense bf16 on the same B200 gives 281, 292 at the bandwidth that the device reports."""

TERA_EFLOP_PER_B200_S: Final = 4500.0

# The printed sizes. 0.6B and 1.7B count the tied embedding twice, 4B does not; 8B and up include the input embedding,
# which multiplies nothing. Against the matmul weights they are 26, 18, 0, 8.2, 5.6 and 2.4 % too high.
PUBLISHED_BILLION_PARAMETERS: Final = {
    "Qwen3-0.6B": 0.752,
    "Qwen3-1.7B": 2.03,
    "Qwen3-4B": 4.02,
    "Qwen3-8B": 8.19,
    "Qwen3-14B": 14.77,  # notebooks say 14.33 in colour keys; no decomposition of the model gives that
    "Qwen3-32B": 32.76,
}

GENERATION_BUDGETS: Final = tuple(range(2048, 32768 + 1, 2048))
TOPK_BUDGETS: Final = (32, 64, 128, 256, 512, 1024)
TRIALS: Final = (1, 2, 4, 8, 16, 32)
"""Up to 8 only for 32B, whose traces hold no more: its Best-of-N curve is cut off there."""


def num_published_parameters(model: ModelSpec) -> int:
    """The parameter count that the published formulas use.

    Raises: ValueError for a model that the paper's table lacks.
    """
    if model.name not in PUBLISHED_BILLION_PARAMETERS:
        choices = ", ".join(PUBLISHED_BILLION_PARAMETERS)
        raise ValueError(f"model must be in the paper's parameter table, got {model.name}; choose from {choices}")
    return round(PUBLISHED_BILLION_PARAMETERS[model.name] * 1e9)


Amount = TypeVar("Amount", float, "NDArray[np.float64]")
"""One length, or an array of them: the formulas are of either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperCost(Generic[Amount]):
    """Compute in 1e12 FLOP and memory in 1e12 eFLOP (bytes x intensity)."""

    compute: Amount
    memory: Amount

    @property
    def total(self) -> Amount:
        """eFLOPs: the sum of both."""
        return self.compute + self.memory


def paper_cost(
    model: ModelSpec,
    policy: AttentionPolicy,
    *,
    prompt_len: float,
    generated: Amount,
    trials: int = 1,
    num_parameters: float | None = None,
    intensity: float = INTENSITY,
) -> PaperCost[Amount]:
    """Cost of `trials` answers as published.

    Raises: ValueError for sinks or partial blocks, which the published formulas do not know.
    """
    params = num_published_parameters(model) if num_parameters is None else num_parameters
    q_width = model.num_layers * model.num_q_heads * model.head_dim
    kv_width = model.num_layers * model.num_kv_heads * model.head_dim
    weights = 2 * params * generated
    match policy:
        case Dense():
            compute = (weights + 2 * (2 * prompt_len + generated) * generated * q_width) * trials
            num_bytes = 2 * (2 * prompt_len + generated * trials) * generated * kv_width
        case TopK(num_sink_tokens=0) | Local(num_sink_tokens=0):
            keys = _topk_keys(policy.kv_budget, prompt_len=prompt_len, generated=generated)
            compute = (weights + 4 * keys * q_width) * trials
            num_bytes = 4 * keys * kv_width * trials
        case BlockTopK(num_sink_tokens=0, keeps_partial_block=False, summary=BlockSummary.MEAN):
            keys = _block_keys(policy.kv_budget, prompt_len=prompt_len, generated=generated)
            blocks = (2 * prompt_len + generated) // policy.block_size
            # Floors prompt and trials together: short trials share a block that none of them has completed.
            blocks_read = (2 * prompt_len + generated * trials) // policy.block_size
            compute = (weights + 4 * keys * q_width + blocks * generated * q_width) * trials
            num_bytes = 4 * keys * kv_width * trials + blocks_read * generated * kv_width
        case _:
            raise ValueError(
                f"paper mode must have neither sink tokens nor partial blocks nor bounds, got {policy}; use exact"
            )
    return PaperCost(compute=compute * 1e-12, memory=num_bytes * intensity * 1e-12)


def mean_paper_cost(
    model: ModelSpec,
    policy: AttentionPolicy,
    *,
    prompt_len: float,
    lengths: Sequence[float],
    trials: int = 1,
    num_parameters: float | None = None,
    intensity: float = INTENSITY,
) -> PaperCost[float]:
    """Mean of `paper_cost` over observed lengths, every trial of one draw as long as the others."""
    costs = [
        paper_cost(
            model,
            policy,
            prompt_len=prompt_len,
            generated=length,
            trials=trials,
            num_parameters=num_parameters,
            intensity=intensity,
        )
        for length in lengths
    ]
    num_costs = len(costs)
    return PaperCost(
        compute=sum(cost.compute for cost in costs) / num_costs, memory=sum(cost.memory for cost in costs) / num_costs
    )


def attention_to_parameter_ratio(model: ModelSpec, *, prompt_len: float, generated: float) -> float:
    """Phi: eFLOPs of attention over FLOP of the weights, for one answer.

    Source: Kinetics, section 3, with its parameter table and intensity.
    """
    width = 2 * model.num_layers * model.num_kv_heads * model.head_dim
    attention = 2 * model.group_size * prompt_len * width + (model.group_size + INTENSITY) * width * generated
    return attention / (2 * num_published_parameters(model))


def _topk_keys(kv_budget: int, *, prompt_len: float, generated: Amount) -> Amount:
    """Keys of one trial. The warm-up term has the wrong sign: the exact sum is below kv_budget * generated."""
    return kv_budget * generated + 0.5 * max(0, kv_budget - prompt_len) ** 2


def _block_keys(kv_budget: int, *, prompt_len: float, generated: Amount) -> Amount:
    """Keys of one trial: the right sign here, but below zero once generated < kv_budget - prompt_len."""
    return kv_budget * generated - 0.5 * max(0, kv_budget - prompt_len) ** 2
