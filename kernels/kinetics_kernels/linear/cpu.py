"""x @ weight.T for few tokens on the CPU, float32: the weights stream through once, at the speed of memory.

BLAS libraries are built for square matrices; with 2 to 32 tokens they were seen to fetch weights at a third of what
memory gives. Threads take blocks of weight rows off a shared counter; two rows meet four tokens at a time, eight sums
in registers, while the rows after them are on their way from memory. A single token meets four rows at a time instead.
Every sum runs over its row in one order, whatever the number of tokens: a token's result does not depend on what else
is in the batch. Groups (experts) are segments of tokens, each with a matrix of its own.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
# mypy: disable-error-code="attr-defined, call-arg, var-annotated, unreachable"

from __future__ import annotations

from ctypes import Structure, c_int64
from typing import TYPE_CHECKING

import numpy as np
from numba import carray, cfunc, from_dtype, njit, types

from kinetics_kernels.cpu_runtime.intrinsics import fetch_add, float32_at, int64_at, prefetch
from kinetics_kernels.cpu_runtime.simd import LANES, load, multiply_add, splat, sum_of
from kinetics_kernels.cpu_runtime.threads import arguments_of, run_on_threads

if TYPE_CHECKING:
    import torch

BLOCK_ROWS = 32


class Arguments(Structure):
    """What the kernel is given: addresses and sizes. Group g owns the tokens starts[g] <= token < starts[g + 1]."""

    _fields_ = tuple(
        (name, c_int64) for name in ("x", "weight", "out", "starts", "counter", "num_groups", "rows", "width")
    )


index = np.uint64
"""Unsigned indices spare numba's check for negative ones, without which the inner loop does not vectorise."""
float32 = np.float32


@njit
def dot_rest(weight, row, x, token, first, width):
    """The end of a row that fills no vector times the same of a token."""
    total = float32(0)
    for k in range(first, width):
        total += weight[row + index(k)] * x[token + index(k)]
    return total


@njit
def dot_2x4(weight, row_a, row_b, x, x_0, x_1, x_2, x_3, width, ahead):
    """Two weight rows times four tokens, all given by the offset they start at; asks for what lies `ahead` of them."""
    zero = splat(float32(0))
    a_0, a_1, a_2, a_3, b_0, b_1, b_2, b_3 = zero, zero, zero, zero, zero, zero, zero, zero
    for step in range(0, width, LANES):
        k = index(step)
        # A cache line holds two vectors: one row's line is asked for at even steps, the other's at odd ones.
        prefetch(weight, (row_b if step & LANES else row_a) + k + ahead)
        a, b = load(weight, row_a + k), load(weight, row_b + k)
        t_0, t_1, t_2, t_3 = load(x, x_0 + k), load(x, x_1 + k), load(x, x_2 + k), load(x, x_3 + k)
        a_0, b_0 = multiply_add(a, t_0, a_0), multiply_add(b, t_0, b_0)
        a_1, b_1 = multiply_add(a, t_1, a_1), multiply_add(b, t_1, b_1)
        a_2, b_2 = multiply_add(a, t_2, a_2), multiply_add(b, t_2, b_2)
        a_3, b_3 = multiply_add(a, t_3, a_3), multiply_add(b, t_3, b_3)
    return (
        sum_of(a_0), sum_of(a_1), sum_of(a_2), sum_of(a_3), sum_of(b_0), sum_of(b_1), sum_of(b_2), sum_of(b_3)
    )  # fmt: skip


@njit
def dot_4x1(weight, rows, x, token, width, ahead):
    """Four weight rows times one token, as in `dot_2x4`."""
    zero = splat(float32(0))
    sum_0, sum_1, sum_2, sum_3 = zero, zero, zero, zero
    for step in range(0, width, LANES):
        k = index(step)
        t = load(x, token + k)
        prefetch(weight, rows[2 if step & LANES else 0] + k + ahead)
        prefetch(weight, rows[3 if step & LANES else 1] + k + ahead)
        sum_0 = multiply_add(load(weight, rows[0] + k), t, sum_0)
        sum_1 = multiply_add(load(weight, rows[1] + k), t, sum_1)
        sum_2 = multiply_add(load(weight, rows[2] + k), t, sum_2)
        sum_3 = multiply_add(load(weight, rows[3] + k), t, sum_3)
    return sum_of(sum_0), sum_of(sum_1), sum_of(sum_2), sum_of(sum_3)


@njit
def multiply_tokens(x, weight, out, first_token, last_token, group_row, first_row, last_row, rows, width):
    """Rows first_row <= row < last_row of one group's matrix times the tokens of the group, two rows by four tokens.

    A tile that runs past the last token or row computes the last one again, and writes the same sums again.
    """
    whole = width - width % LANES
    for row in range(first_row, last_row, 2):
        next_row = min(row + 1, last_row - 1)
        row_a, row_b = index((group_row + row) * width), index((group_row + next_row) * width)
        ahead = index(2 * width)
        for token in range(first_token, last_token, 4):
            tokens = (
                token,
                min(token + 1, last_token - 1),
                min(token + 2, last_token - 1),
                min(token + 3, last_token - 1),
            )
            at = (
                index(tokens[0] * width),
                index(tokens[1] * width),
                index(tokens[2] * width),
                index(tokens[3] * width),
            )
            sums = dot_2x4(weight, row_a, row_b, x, at[0], at[1], at[2], at[3], whole, ahead)
            for i in range(4):
                out[index(tokens[i] * rows + row)] = sums[i] + dot_rest(weight, row_a, x, at[i], whole, width)
                out[index(tokens[i] * rows + next_row)] = sums[4 + i] + dot_rest(weight, row_b, x, at[i], whole, width)


@njit
def multiply_token(x, weight, out, token, group_row, first_row, last_row, rows, width):
    """As `multiply_tokens` for a group of one token, four rows at a time."""
    whole = width - width % LANES
    at = index(token * width)
    for row in range(first_row, last_row, 4):
        four = (row, min(row + 1, last_row - 1), min(row + 2, last_row - 1), min(row + 3, last_row - 1))
        offsets = (
            index((group_row + four[0]) * width),
            index((group_row + four[1]) * width),
            index((group_row + four[2]) * width),
            index((group_row + four[3]) * width),
        )
        sums = dot_4x1(weight, offsets, x, at, whole, index(4 * width))
        for i in range(4):
            out[index(token * rows + four[i])] = sums[i] + dot_rest(weight, offsets[i], x, at, whole, width)


@njit
def multiply_block(x, weight, out, first_token, last_token, group_row, first_row, last_row, rows, width):
    """Rows first_row <= row < last_row of one group's matrix times the tokens of the group."""
    if last_token - first_token == 1:
        multiply_token(x, weight, out, first_token, group_row, first_row, last_row, rows, width)
    else:
        multiply_tokens(x, weight, out, first_token, last_token, group_row, first_row, last_row, rows, width)


@cfunc(types.void(types.CPointer(from_dtype(np.dtype(Arguments)))), cache=True, error_model="numpy")
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
