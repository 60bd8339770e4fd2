"""Matrix products of the decoder: by torch, or on the CPU with few float32 tokens by `skinny_linear`."""

from __future__ import annotations

import torch
from torch.nn.functional import grouped_mm
from torch.nn.functional import linear as torch_linear

MAX_SKINNY_TOKENS = 32
"""From here on BLAS was measured to be faster; up to here a token's result does not depend on the batch."""


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """x @ weight.T + bias; x: [num_tokens, width], weight: [rows, width]."""
    if not _is_skinny(x, weight, num_tokens=x.shape[0]):
        return torch_linear(x, weight, bias)
    from kinetics_kernels.linear.cpu import grouped_skinny_linear

    product = grouped_skinny_linear(x, weight[None], torch.tensor([0, x.shape[0]]))
    return product if bias is None else product.add_(bias)


def grouped_linear(x: torch.Tensor, weight: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """x[t] @ weight[g].T for the group g of token t, tokens in order of their group; no loop over tokens or groups.

    weight: [num_groups, rows, width], starts: int64 [num_groups + 1].
    """
    # Tokens spread over the groups: a group rarely holds more than a few of MAX_SKINNY_TOKENS per expert chosen.
    if not _is_skinny(x, weight, num_tokens=x.shape[0] // 8):
        return grouped_mm(x, weight.transpose(1, 2), offs=starts[1:].to(torch.int32))
    from kinetics_kernels.linear.cpu import grouped_skinny_linear

    return grouped_skinny_linear(x, weight, starts)


def _is_skinny(x: torch.Tensor, weight: torch.Tensor, *, num_tokens: int) -> bool:
    is_plain = x.device.type == "cpu" and x.dtype is torch.float32 and weight.dtype is torch.float32
    return is_plain and num_tokens <= MAX_SKINNY_TOKENS
