"""The two products of attention over one tile of tokens: queries with keys, and weights with values.

A tile is worked on in units of eight tokens of one KV head, in the order of memory, and each unit for its query heads
two by two: a register filled with keys or values serves both. While a unit is worked on, one some way ahead is asked
for, so that memory and arithmetic overlap. Layouts are those of `page_attention`.
"""
# mypy: ignore-errors
# Compiled by numba, which types it: mypy sees the decorators, not the code.

from __future__ import annotations

import numpy as np
from numba import njit

from kinetics_kernels.cpu_runtime.intrinsics import prefetch
from kinetics_kernels.cpu_runtime.simd import (
    FLAGS,
    LANES,
    dot_eight_rows,
    load,
    multiply_add,
    splat,
    store,
    sum_each,
)
from kinetics_kernels.cpu_runtime.wide import WIDE_LANES, load_wide, scale_add_wide, store_wide

TILE_TOKENS = 16
UNIT_TOKENS = 8
FLOATS_PER_CACHE_LINE = 16
UNITS_AHEAD = 4
"""How many units before its turn a unit is asked for. One is too late: dense decode took 1.3 times as long, and the
arithmetic and the memory added up. From two to eight no distance was faster than four, on 32 query heads over 8 of 128
and 14 over 2 of 64, dense and lists of one head, one thread and two, medians of 15 to 21 interleaved rounds; at twelve
lists fell behind."""

index = np.uint64
"""Unsigned indices spare numba's check for negative ones, without which the inner loops do not vectorise."""


@njit
def eight_rows(first, slot_stride, num_rows):
    """Where eight token rows start; those past the last token repeat it, so that nothing unwritten is read."""
    last = num_rows - 1
    return (
        index(first),
        index(first + min(1, last) * slot_stride),
        index(first + min(2, last) * slot_stride),
        index(first + min(3, last) * slot_stride),
        index(first + min(4, last) * slot_stride),
        index(first + min(5, last) * slot_stride),
        index(first + min(6, last) * slot_stride),
        index(first + min(7, last) * slot_stride),
    )


@njit(fastmath=FLAGS)
def dot_two_heads(q, query, keys, rows, head_dim):
    """Two neighbouring queries times eight keys, each key loaded once: sixteen sums in registers, folded into two."""
    zero, next_query = splat(np.float32(0)), query + index(head_dim)
    sum_0, sum_1, sum_2, sum_3, sum_4, sum_5, sum_6, sum_7 = zero, zero, zero, zero, zero, zero, zero, zero
    next_0, next_1, next_2, next_3, next_4, next_5, next_6, next_7 = zero, zero, zero, zero, zero, zero, zero, zero
    for step in range(0, head_dim, LANES):
        d = index(step)
        x, y = load(q, query + d), load(q, next_query + d)
        key = load(keys, rows[0] + d)
        sum_0, next_0 = multiply_add(x, key, sum_0), multiply_add(y, key, next_0)
        key = load(keys, rows[1] + d)
        sum_1, next_1 = multiply_add(x, key, sum_1), multiply_add(y, key, next_1)
        key = load(keys, rows[2] + d)
        sum_2, next_2 = multiply_add(x, key, sum_2), multiply_add(y, key, next_2)
        key = load(keys, rows[3] + d)
        sum_3, next_3 = multiply_add(x, key, sum_3), multiply_add(y, key, next_3)
        key = load(keys, rows[4] + d)
        sum_4, next_4 = multiply_add(x, key, sum_4), multiply_add(y, key, next_4)
        key = load(keys, rows[5] + d)
        sum_5, next_5 = multiply_add(x, key, sum_5), multiply_add(y, key, next_5)
        key = load(keys, rows[6] + d)
        sum_6, next_6 = multiply_add(x, key, sum_6), multiply_add(y, key, next_6)
        key = load(keys, rows[7] + d)
        sum_7, next_7 = multiply_add(x, key, sum_7), multiply_add(y, key, next_7)
    first = sum_each(sum_0, sum_1, sum_2, sum_3, sum_4, sum_5, sum_6, sum_7)
    return first, sum_each(next_0, next_1, next_2, next_3, next_4, next_5, next_6, next_7)


@njit(fastmath=FLAGS)
def add_one_head(state, at, values, first, slot_stride, num_rows, head_dim, row):
    """Add the weighted values of `num_rows` tokens to one head's accumulator."""
    weights, accumulator = state.logits, state.accumulator
    for step in range(0, head_dim, WIDE_LANES):
        d = index(step)
        total = load_wide(accumulator, row + d)
        for token in range(num_rows):
            value = load_wide(values, index(first + token * slot_stride) + d)
            total = scale_add_wide(weights[at + index(token)], value, total)
        store_wide(accumulator, row + d, total)


@njit(fastmath=FLAGS)
def add_two_heads(state, at, values, first, slot_stride, num_rows, head_dim, row):
    """Add the weighted values of `num_rows` tokens to the accumulators of two neighbours, each value loaded once."""
    weights, accumulator = state.logits, state.accumulator
    next_at, next_row = at + index(TILE_TOKENS), row + index(head_dim)
    for step in range(0, head_dim, WIDE_LANES):
        d = index(step)
        total, next_total = load_wide(accumulator, row + d), load_wide(accumulator, next_row + d)
        for token in range(num_rows):
            value = load_wide(values, index(first + token * slot_stride) + d)
            total = scale_add_wide(weights[at + index(token)], value, total)
            next_total = scale_add_wide(weights[next_at + index(token)], value, next_total)
        store_wide(accumulator, row + d, total)
        store_wide(accumulator, next_row + d, next_total)


@njit
def prefetch_share(cache, row, slot_stride, head_dim, part, group_size):
    """Ask for one part of a unit, of as many as the group has members, or one more if they are odd.

    A burst of it all would stall: with two members to a group, asked for at once, dense decode took 1.5 times as long.
    """
    num_parts = group_size + group_size % 2
    for token in range(part * UNIT_TOKENS // num_parts, (part + 1) * UNIT_TOKENS // num_parts):
        for d in range(0, head_dim, FLOATS_PER_CACHE_LINE):
            prefetch(cache, row + token * slot_stride + d)


@njit
def locate(unit, num_eights, num_heads, slot_stride, head_stride):
    """Head, first slot and offset in its tile of a unit, eight tokens of one head, in the order of memory."""
    if head_stride > slot_stride:
        head, slot = unit // num_eights, unit % num_eights * UNIT_TOKENS
    else:
        head, slot = unit % num_heads, unit // num_heads * UNIT_TOKENS
    return head, slot, head * head_stride + slot * slot_stride


@njit
def tokens_to_near_tile(num_heads):
    """How many tokens after a tile the nearer of the two begins that its units ahead lie in."""
    return UNITS_AHEAD // (TILE_TOKENS // UNIT_TOKENS * num_heads) * TILE_TOKENS


@njit
def locate_ahead(unit, tiles_ahead, num_eights, num_heads, slot_stride, head_stride):
    """Where the unit starts that is worked on `UNITS_AHEAD` after this one, given its near tile and the next."""
    num_units = num_eights * num_heads
    ahead = unit + UNITS_AHEAD % num_units
    _, _, offset = locate(ahead % num_units, num_eights, num_heads, slot_stride, head_stride)
    return offset + (tiles_ahead[0] if ahead < num_units else tiles_ahead[1])


@njit(fastmath=FLAGS)
def score_tile(arguments, q, keys, tile, tiles_ahead, num_tokens, logits):
    """Logits, in base 2, of a tile for all heads of the list; a unit to come is prefetched."""
    group_size, head_dim, num_heads = arguments.group_size, arguments.head_dim, arguments.heads_per_list
    slot_stride, head_stride = arguments.k_slot_stride, arguments.k_head_stride
    num_eights, scale = (num_tokens + UNIT_TOKENS - 1) // UNIT_TOKENS, splat(arguments.logit_scale)
    for unit in range(num_eights * num_heads):
        ahead = locate_ahead(unit, tiles_ahead, num_eights, num_heads, slot_stride, head_stride)
        head, slot, offset = locate(unit, num_eights, num_heads, slot_stride, head_stride)
        rows = eight_rows(tile + offset, slot_stride, num_tokens - slot)
        for member in range(0, group_size, 2):
            prefetch_share(keys, ahead, slot_stride, head_dim, member, group_size)
            q_head = head * group_size + member
            query, at = index(q_head * head_dim), index(q_head * TILE_TOKENS + slot)
            if member + 1 < group_size:
                dots, next_dots = dot_two_heads(q, query, keys, rows, head_dim)
                store(logits, at, dots * scale)
                store(logits, at + index(TILE_TOKENS), next_dots * scale)
            else:
                store(logits, at, dot_eight_rows(q, query, keys, rows, head_dim) * scale)
            prefetch_share(keys, ahead, slot_stride, head_dim, member + 1, group_size)


@njit(fastmath=FLAGS)
def add_tile(arguments, values, tile, tiles_ahead, num_tokens, state):
    """Add the weighted values of a tile to the accumulators of all heads of the list; a unit to come is prefetched."""
    group_size, head_dim, num_heads = arguments.group_size, arguments.head_dim, arguments.heads_per_list
    slot_stride, head_stride = arguments.v_slot_stride, arguments.v_head_stride
    num_eights = (num_tokens + UNIT_TOKENS - 1) // UNIT_TOKENS
    for unit in range(num_eights * num_heads):
        ahead = locate_ahead(unit, tiles_ahead, num_eights, num_heads, slot_stride, head_stride)
        head, slot, offset = locate(unit, num_eights, num_heads, slot_stride, head_stride)
        first, num_rows = tile + offset, min(UNIT_TOKENS, num_tokens - slot)
        for member in range(0, group_size, 2):
            prefetch_share(values, ahead, slot_stride, head_dim, member, group_size)
            q_head = head * group_size + member
            at, row = index(q_head * TILE_TOKENS + slot), index(q_head * head_dim)
            if member + 1 < group_size:
                add_two_heads(state, at, values, first, slot_stride, num_rows, head_dim, row)
            else:
                add_one_head(state, at, values, first, slot_stride, num_rows, head_dim, row)
            prefetch_share(values, ahead, slot_stride, head_dim, member + 1, group_size)
