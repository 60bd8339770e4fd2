"""The memory layout compiled code can work on."""

from __future__ import annotations

import torch


def with_unit_stride(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself if its last dimension is dense, as in every usual layout, else a copy that is."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()
