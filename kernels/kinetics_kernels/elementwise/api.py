"""The calls of `elementwise`, checked once and handed to a backend: `gpu` for tensors on one, else `reference`.

Rows are tokens: hidden [num_tokens, width], heads [num_tokens, num_heads, head_dim], gate_up [num_tokens, 2 * width],
cos and sin [num_tokens, 1, head_dim]. Results are new tensors, contiguous, in the dtype of the first argument.
"""

from __future__ import annotations

from types import ModuleType

import torch

BACKENDS = ("auto", "reference", "gpu")


def add_norm(
    hidden: torch.Tensor, update: torch.Tensor | None, weight: torch.Tensor, *, epsilon: float, backend: str = "auto"
) -> tuple[torch.Tensor, torch.Tensor]:
    """(hidden + update, its RMS norm times weight); without update hidden itself comes first.

    Raises: ValueError if shapes or dtypes do not fit.
    """
    _check_like("update", update, hidden.shape, hidden)
    _check_like("weight", weight, hidden.shape[-1:], hidden)
    module = _backend(backend, hidden)
    total, normed = module.add_norm(hidden, update, weight, epsilon=epsilon)
    return total, normed


def norm_and_rotate(
    heads: torch.Tensor,
    weight: torch.Tensor | None,
    cos: torch.Tensor,
    sin: torch.Tensor,
    *,
    epsilon: float,
    backend: str = "auto",
) -> torch.Tensor:
    """Query and key heads at the positions of their tokens; weight: [num_heads, head_dim], None for no norm.

    Raises: ValueError if shapes or dtypes do not fit.
    """
    num_tokens, num_heads, head_dim = heads.shape
    if head_dim & (head_dim - 1) or head_dim < 16:
        raise ValueError(f"head_dim must be a power of two from 16 on, got {head_dim}")
    _check_like("weight", weight, (num_heads, head_dim), heads)
    for name, tensor in (("cos", cos), ("sin", sin)):
        _check_like(name, tensor, (num_tokens, 1, head_dim), heads)
    rotated: torch.Tensor = _backend(backend, heads).norm_and_rotate(heads, weight, cos, sin, epsilon=epsilon)
    return rotated


def gated(gate_up: torch.Tensor, *, backend: str = "auto") -> torch.Tensor:
    """silu(gate) * up.

    Raises: ValueError if the row cannot be halved.
    """
    if gate_up.shape[-1] % 2:
        raise ValueError(f"gate_up must hold as much gate as up, got a row of {gate_up.shape[-1]}")
    product: torch.Tensor = _backend(backend, gate_up).gated(gate_up)
    return product


def _backend(name: str, tensor: torch.Tensor) -> ModuleType:
    if name not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {name!r}")
    if name == "gpu" or (name == "auto" and tensor.is_cuda):
        from kinetics_kernels.elementwise import gpu

        return gpu
    from kinetics_kernels.elementwise import reference

    return reference


def _check_like(name: str, tensor: torch.Tensor | None, shape: tuple[int, ...], like: torch.Tensor) -> None:
    if tensor is not None and (tuple(tensor.shape) != tuple(shape) or tensor.dtype is not like.dtype):
        raise ValueError(
            f"{name} must be {like.dtype} of shape {tuple(shape)}, got {tensor.dtype} of {tuple(tensor.shape)}"
        )
