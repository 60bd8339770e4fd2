"""Mixture of experts: each token goes to its best experts, whose answers are added, weighted by the router.

Tokens are sorted by expert, so that each expert multiplies one segment; there is no loop over tokens or experts here.
"""

from __future__ import annotations

import torch
from torch.nn.functional import silu

from kinetics.engine.linear import grouped_linear, linear
from kinetics.engine.weights import LayerWeights


def experts_mlp(
    x: torch.Tensor, layer: LayerWeights, *, num_experts_per_token: int, normalizes_weights: bool
) -> torch.Tensor:
    """The gated MLPs of the chosen experts, summed by router weight; x and the result: [num_tokens, hidden_size]."""
    assert layer.router is not None
    weights, experts = route(
        linear(x, layer.router), num_experts_per_token=num_experts_per_token, normalizes_weights=normalizes_weights
    )
    order = torch.argsort(experts.flatten(), stable=True)
    starts = _segment_starts(experts, num_experts=layer.router.shape[0])
    gate, up = grouped_linear(x[order // num_experts_per_token], layer.gate_up, starts).chunk(2, dim=-1)
    answers = grouped_linear(silu(gate) * up, layer.down, starts)
    by_choice = torch.empty_like(answers)
    by_choice[order] = answers  # back to (token, choice), so that the sum below has one order whatever the batch
    return (by_choice.view(*experts.shape, -1) * weights[..., None]).sum(dim=1)


def route(
    logits: torch.Tensor, *, num_experts_per_token: int, normalizes_weights: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and ids of the experts of each token, both [num_tokens, num_experts_per_token], from router logits."""
    shares = torch.softmax(logits, dim=-1, dtype=torch.float32)
    weights, experts = torch.topk(shares, num_experts_per_token, dim=-1)
    if normalizes_weights:
        weights = weights / weights.sum(dim=-1, keepdim=True)
    return weights.to(logits.dtype), experts


def _segment_starts(experts: torch.Tensor, *, num_experts: int) -> torch.Tensor:
    counts = torch.zeros(num_experts + 1, dtype=torch.int64, device=experts.device)
    chosen = experts.flatten() + 1
    counts.scatter_add_(0, chosen, torch.ones_like(chosen))
    return counts.cumsum(0)
