"""x @ weight.T for few tokens on the CPU, float32: the weights stream through once, at the speed of memory.

BLAS libraries are built for square matrices; with 2 to 32 tokens they were seen to fetch weights at a third of what
memory gives. Threads take blocks of weight rows off a shared counter; two rows meet four tokens at a time, eight sums
in registers. Every sum runs over its row in one order, whatever the number of tokens: a token's result does not depend
on what else is in the batch. Groups (experts) are segments of tokens, each with a matrix of its own.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
# mypy: disable-error-code="attr-defined, call-arg, var-annotated, unreachable"

from __future__ import annotations

from ctypes import Structure, c_int64
from typing import TYPE_CHECKING

import numpy as np
from numba import carray, cfunc, from_dtype, njit, types

from kinetics_kernels.cpu_runtime.intrinsics import fetch_add, float32_at, int64_at
from kinetics_kernels.cpu_runtime.threads import arguments_of, run_on_threads

if TYPE_CHECKING:
    import torch

BLOCK_ROWS = 16
FLAGS = {"contract", "reassoc", "nsz", "arcp"}
"""Fast math without the promise that NaN and infinity never occur: both must reach the output."""


class Arguments(Structure):
    """What the kernel is given: addresses and sizes. Group g owns the tokens starts[g] <= token < starts[g + 1]."""

    _fields_ = tuple(
        (name, c_int64) for name in ("x", "weight", "out", "starts", "counter", "num_groups", "rows", "width")
    )


index = np.uint64
"""Unsigned indices spare numba's check for negative ones, without which the inner loop does not vectorise."""
float32 = np.float32


@njit(fastmath=FLAGS)
def dot_2x4(weight, row_a, row_b, x, x_0, x_1, x_2, x_3, width):
    """Two weight rows times four tokens; all given by the offset they start at."""
    a_0, a_1, a_2, a_3 = float32(0), float32(0), float32(0), float32(0)
    b_0, b_1, b_2, b_3 = float32(0), float32(0), float32(0), float32(0)
    for step in range(width):
        k = index(step)
        a, b = weight[row_a + k], weight[row_b + k]
        t_0, t_1, t_2, t_3 = x[x_0 + k], x[x_1 + k], x[x_2 + k], x[x_3 + k]
        a_0 += a * t_0
        a_1 += a * t_1
        a_2 += a * t_2
        a_3 += a * t_3
        b_0 += b * t_0
        b_1 += b * t_1
        b_2 += b * t_2
        b_3 += b * t_3
    return a_0, a_1, a_2, a_3, b_0, b_1, b_2, b_3


@njit
def multiply_block(x, weight, out, first_token, last_token, group_row, first_row, last_row, rows, width):
    """Rows first_row <= row < last_row of one group's matrix times the tokens of the group.

    A tile that runs past the last token or row computes the last one again, and writes the same sums again.
    """
    for row in range(first_row, last_row, 2):
        next_row = min(row + 1, last_row - 1)
        row_a, row_b = index((group_row + row) * width), index((group_row + next_row) * width)
        for token in range(first_token, last_token, 4):
            t_1, t_2, t_3 = (
                min(token + 1, last_token - 1),
                min(token + 2, last_token - 1),
                min(token + 3, last_token - 1),
            )
            at = (index(token * width), index(t_1 * width), index(t_2 * width), index(t_3 * width))
            sums = dot_2x4(weight, row_a, row_b, x, at[0], at[1], at[2], at[3], width)
            for i, written in enumerate((token, t_1, t_2, t_3)):
                out[index(written * rows + row)] = sums[i]
                out[index(written * rows + next_row)] = sums[4 + i]


@cfunc(types.void(types.CPointer(from_dtype(np.dtype(Arguments)))), cache=True, fastmath=FLAGS, error_model="numpy")
def multiply_items(address):
    """What every thread runs: take (group, block of rows) items off the counter until none is left."""
    arguments = carray(address, 1)[0]
    rows, width, num_groups = arguments.rows, arguments.width, arguments.num_groups
    starts = int64_at(arguments.starts, num_groups + 1)
    counter = int64_at(arguments.counter, 1)
    num_tokens = starts[num_groups]
    x = float32_at(arguments.x, num_tokens * width)
    weight = float32_at(arguments.weight, num_groups * rows * width)
    out = float32_at(arguments.out, num_tokens * rows)
    num_blocks = (rows + BLOCK_ROWS - 1) // BLOCK_ROWS
    item = fetch_add(counter, 0)
    while item < num_groups * num_blocks:
        group, first_row = item // num_blocks, item % num_blocks * BLOCK_ROWS
        last_row = min(first_row + BLOCK_ROWS, rows)
        multiply_block(x, weight, out, starts[group], starts[group + 1], group * rows, first_row, last_row, rows, width)
        item = fetch_add(counter, 0)


def grouped_skinny_linear(x: torch.Tensor, weight: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
    """out[t] = x[t] @ weight[g].T for the group g of token t; float32, contiguous, in host memory.

    x: [num_tokens, width], weight: [num_groups, rows, width], starts: int64 [num_groups + 1], ascending from 0 to
    num_tokens.
    """
    x = x.contiguous()
    assert weight.is_contiguous(), "weights are laid out once, contiguous"
    num_groups, rows, width = weight.shape
    out = x.new_empty(x.shape[0], rows)
    arguments = arguments_of(
        Arguments,
        x=x.data_ptr(),
        weight=weight.data_ptr(),
        out=out.data_ptr(),
        starts=starts.data_ptr(),
        num_groups=num_groups,
        rows=rows,
        width=width,
    )
    run_on_threads(multiply_items, arguments, num_elements=min(num_groups, len(x)) * rows * width)
    return out
