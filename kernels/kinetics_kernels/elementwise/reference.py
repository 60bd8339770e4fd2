"""The same in plain torch: sums of squares in float32, everything else in the dtype of the tensors."""

from __future__ import annotations

import torch
from torch.nn.functional import silu


def add_norm(
    hidden: torch.Tensor, update: torch.Tensor | None, weight: torch.Tensor, *, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """hidden + update, and that over its root mean square, times weight."""
    total = hidden if update is None else hidden + update
    return total, _norm(total, weight, epsilon)


def norm_and_rotate(
    heads: torch.Tensor, weight: torch.Tensor | None, cos: torch.Tensor, sin: torch.Tensor, *, epsilon: float
) -> torch.Tensor:
    """Each head normed, if there is a weight, and its pairs (d, d + head_dim / 2) turned by the token's angles."""
    normed = heads if weight is None else _norm(heads, weight, epsilon)
    first, second = normed.chunk(2, dim=-1)
    return normed * cos + torch.cat([-second, first], dim=-1) * sin


def gated(gate_up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up, of a row that holds gate and then up."""
    gate, up = gate_up.chunk(2, dim=-1)
    return silu(gate) * up


def _norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    wide = x.float() if x.dtype is not torch.float64 else x
    normed = wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + epsilon)
    return normed.to(x.dtype) * weight
