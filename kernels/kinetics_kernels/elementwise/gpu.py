"""One launch each, in float32 registers between one load and one store; a row or a few heads per program."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kinetics_kernels.gpu_runtime.configs import launch_variant
from kinetics_kernels.gpu_runtime.device import gpu_device_of
from kinetics_kernels.gpu_runtime.overlap import overlap_options, wait_for_previous

HEADS_PER_PROGRAM = 4
GATE_TILE = 1024
_WIDE_ROW = 2048
"""From here on a row takes eight warps."""


@triton.jit
def add_norm_kernel(
    hidden_ptr,
    update_ptr,
    weight_ptr,
    total_ptr,
    normed_ptr,
    hidden_stride,
    update_stride,
    width,
    epsilon,
    HAS_UPDATE: tl.constexpr,
    WIDTH: tl.constexpr,
    IS_OVERLAPPED: tl.constexpr,
):
    """A token's row: the sum is rounded before it is squared, as it is what the next layer adds to."""
    wait_for_previous(IS_OVERLAPPED)
    token = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, WIDTH)
    is_column = columns < width
    row = tl.load(hidden_ptr + token * hidden_stride + columns, mask=is_column, other=0.0)
    element = row.dtype
    total = row.to(tl.float32)
    if HAS_UPDATE:
        update = tl.load(update_ptr + token * update_stride + columns, mask=is_column, other=0.0)
        total = (total + update.to(tl.float32)).to(element).to(tl.float32)
        tl.store(total_ptr + token * width + columns, total.to(element), mask=is_column)
    inverse = tl.rsqrt(tl.sum(total * total, axis=0) / width + epsilon)
    weight = tl.load(weight_ptr + columns, mask=is_column, other=0.0).to(tl.float32)
    tl.store(normed_ptr + token * width + columns, (total * inverse * weight).to(element), mask=is_column)


@triton.jit
def norm_rotate_kernel(
    heads_ptr,
    weight_ptr,
    cos_ptr,
    sin_ptr,
    out_ptr,
    token_stride,
    head_stride,
    num_heads,
    epsilon,
    HAS_NORM: tl.constexpr,
    HALF: tl.constexpr,
    HEADS: tl.constexpr,
    IS_OVERLAPPED: tl.constexpr,
):
    """A few heads of a token, in two halves that turn together."""
    wait_for_previous(IS_OVERLAPPED)
    token = tl.program_id(1).to(tl.int64)
    heads = tl.program_id(0) * HEADS + tl.arange(0, HEADS)
    columns = tl.arange(0, HALF)
    is_head = (heads < num_heads)[:, None]
    ptrs = heads_ptr + token * token_stride + heads[:, None] * head_stride + columns[None, :]
    raw = tl.load(ptrs, mask=is_head, other=0.0)
    element = raw.dtype
    first = raw.to(tl.float32)
    second = tl.load(ptrs + HALF, mask=is_head, other=0.0).to(tl.float32)
    if HAS_NORM:
        squares = tl.sum(first * first, axis=1) + tl.sum(second * second, axis=1)
        inverse = tl.rsqrt(squares / (2 * HALF) + epsilon)[:, None]
        weights = weight_ptr + heads[:, None] * (2 * HALF) + columns[None, :]
        first *= inverse * tl.load(weights, mask=is_head, other=0.0).to(tl.float32)
        second *= inverse * tl.load(weights + HALF, mask=is_head, other=0.0).to(tl.float32)
    angle = token * (2 * HALF) + columns
    cos, sin = tl.load(cos_ptr + angle).to(tl.float32)[None, :], tl.load(sin_ptr + angle).to(tl.float32)[None, :]
    out = out_ptr + (token * num_heads + heads[:, None]) * (2 * HALF) + columns[None, :]
    tl.store(out, (first * cos - second * sin).to(element), mask=is_head)
    tl.store(out + HALF, (second * cos + first * sin).to(element), mask=is_head)


@triton.jit
def gated_kernel(gate_up_ptr, out_ptr, row_stride, width, TILE: tl.constexpr, IS_OVERLAPPED: tl.constexpr):
    """A piece of a token's row: x * sigmoid(x) of the gate, times up."""
    wait_for_previous(IS_OVERLAPPED)
    token = tl.program_id(1).to(tl.int64)
    columns = tl.program_id(0) * TILE + tl.arange(0, TILE)
    is_column = columns < width
    ptrs = gate_up_ptr + token * row_stride + columns
    raw = tl.load(ptrs, mask=is_column, other=0.0)
    gate, up = raw.to(tl.float32), tl.load(ptrs + width, mask=is_column, other=0.0).to(tl.float32)
    tl.store(out_ptr + token * width + columns, (gate * tl.sigmoid(gate) * up).to(raw.dtype), mask=is_column)


def add_norm(
    hidden: torch.Tensor, update: torch.Tensor | None, weight: torch.Tensor, *, epsilon: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `elementwise.api`."""
    hidden, num_tokens, width = _rows(hidden), *hidden.shape
    update = None if update is None else _rows(update)
    total = hidden if update is None else hidden.new_empty(num_tokens, width)
    normed = hidden.new_empty(num_tokens, width)
    is_overlapped = launch_variant(gpu_device_of(hidden).arch).is_overlapped
    add_norm_kernel[(num_tokens,)](
        hidden,
        hidden if update is None else update,
        weight.contiguous(),
        total,
        normed,
        hidden.stride(0),
        hidden.stride(0) if update is None else update.stride(0),
        width,
        epsilon,
        HAS_UPDATE=update is not None,
        WIDTH=triton.next_power_of_2(width),
        IS_OVERLAPPED=is_overlapped,
        num_warps=8 if width >= _WIDE_ROW else 4,
        **overlap_options(is_overlapped=is_overlapped),
    )
    return total, normed


def norm_and_rotate(
    heads: torch.Tensor, weight: torch.Tensor | None, cos: torch.Tensor, sin: torch.Tensor, *, epsilon: float
) -> torch.Tensor:
    """See `elementwise.api`."""
    heads, (num_tokens, num_heads, head_dim) = _rows(heads), heads.shape
    out = heads.new_empty(num_tokens, num_heads, head_dim)
    is_overlapped = launch_variant(gpu_device_of(heads).arch).is_overlapped
    norm_rotate_kernel[(triton.cdiv(num_heads, HEADS_PER_PROGRAM), num_tokens)](
        heads,
        heads if weight is None else weight.contiguous(),
        cos.contiguous(),
        sin.contiguous(),
        out,
        heads.stride(0),
        heads.stride(1),
        num_heads,
        epsilon,
        HAS_NORM=weight is not None,
        HALF=head_dim // 2,
        HEADS=HEADS_PER_PROGRAM,
        IS_OVERLAPPED=is_overlapped,
        num_warps=HEADS_PER_PROGRAM // 2,
        **overlap_options(is_overlapped=is_overlapped),
    )
    return out


def gated(gate_up: torch.Tensor) -> torch.Tensor:
    """See `elementwise.api`."""
    gate_up, (num_tokens, both) = _rows(gate_up), gate_up.shape
    out = gate_up.new_empty(num_tokens, both // 2)
    is_overlapped = launch_variant(gpu_device_of(gate_up).arch).is_overlapped
    gated_kernel[(triton.cdiv(both // 2, GATE_TILE), num_tokens)](
        gate_up,
        out,
        gate_up.stride(0),
        both // 2,
        TILE=GATE_TILE,
        IS_OVERLAPPED=is_overlapped,
        num_warps=4,
        **overlap_options(is_overlapped=is_overlapped),
    )
    return out


def _rows(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor with elements of a row side by side."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()
