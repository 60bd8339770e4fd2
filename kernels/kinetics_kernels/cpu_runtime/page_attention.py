"""Decode attention over lists of pages on the CPU: the one kernel behind dense and sparse decode.

A list names the pages of one request, in order, for `heads_per_list` KV heads. Lists are cut into splits; threads take
(list, split) items off a shared counter, so an uneven batch or a busy core balances itself. An item walks its pages
in tiles of 16 tokens with a running softmax in base 2, all its heads together, because in an NHD cache the heads
of a token are neighbours in memory. Whoever finishes the last split of a list merges them, in split order: the result
does not depend on who computed what. Layouts: caches have any strides over pages, slots and heads, unit stride over
head_dim; q and out are contiguous.
"""
# mypy: ignore-errors
# Compiled by numba, which types it: mypy sees the decorators, not the code.

from __future__ import annotations

from collections import namedtuple
from ctypes import Structure, c_float, c_int64

import numpy as np
from numba import carray, cfunc, from_dtype, njit, types

from kinetics_kernels.cpu_runtime.intrinsics import fetch_add, float32_at, int32_at, int64_at
from kinetics_kernels.cpu_runtime.simd import FLAGS, LANES, exp2, largest_of, load, splat, store, sum_of
from kinetics_kernels.cpu_runtime.tiles import TILE_TOKENS, add_tile, index, score_tile, tokens_to_near_tile


class Arguments(Structure):
    """What the kernel is given: addresses, strides in elements, sizes; logit_scale is softmax_scale * log2(e)."""

    _fields_ = (
        *((name, c_int64) for name in ("counter", "q", "k_cache", "v_cache", "page_lists", "seq_lens")),
        *((name, c_int64) for name in ("out", "lse", "partial_out", "partial_max", "partial_sum", "finished_splits")),
        *((name, c_int64) for name in ("k_page_stride", "k_slot_stride", "k_head_stride")),
        *((name, c_int64) for name in ("v_page_stride", "v_slot_stride", "v_head_stride")),
        *((name, c_int64) for name in ("batch", "lists_per_request", "heads_per_list", "group_size", "head_dim")),
        *((name, c_int64) for name in ("page_size", "list_width", "is_dense", "pages_per_split", "max_splits")),
        *((name, c_int64) for name in ("has_lse",)),
        ("logit_scale", c_float),
    )


State = namedtuple("State", "logits running_max running_sum accumulator")
"""The running softmax of one item: a tile of logits, then maximum, sum and weighted values of its query heads."""

Memory = namedtuple(
    "Memory",
    "q k_cache v_cache page_lists seq_lens out lse partial_out partial_max partial_sum finished_splits counter",
)
"""The arrays behind the addresses. The caches are only ever indexed, so their size is not stated."""

float32 = np.float32
LN_2 = float32(np.log(2.0))


@njit(fastmath=FLAGS)
def weigh_head(state, q_head, num_tokens, head_dim):
    """Turn one head's logits of a tile into weights relative to the running maximum, raising it if the tile does."""
    logits, at, row = state.logits, index(q_head * TILE_TOKENS), index(q_head * head_dim)
    for slot in range(num_tokens, TILE_TOKENS):
        logits[at + index(slot)] = float32(-np.inf)
    low, high = load(logits, at), load(logits, at + index(LANES))
    old_max = state.running_max[q_head]
    new_max = max(old_max, largest_of(low), largest_of(high))
    if new_max > old_max:
        rescale = float32(2) ** (old_max - new_max)
        state.running_max[q_head] = new_max
        state.running_sum[q_head] *= rescale
        for step in range(0, head_dim, LANES):
            position = row + index(step)
            store(state.accumulator, position, load(state.accumulator, position) * splat(rescale))
    low, high = exp2(low - splat(new_max)), exp2(high - splat(new_max))
    store(logits, at, low)
    store(logits, at + index(LANES), high)
    state.running_sum[q_head] += sum_of(low + high)


@njit
def find_tile(arguments, pages, token):
    """Where the tile that holds a token starts in the caches of keys and values, for the first head."""
    page, slot = np.int64(pages[token // arguments.page_size]), token % arguments.page_size // TILE_TOKENS * TILE_TOKENS
    return (
        page * arguments.k_page_stride + slot * arguments.k_slot_stride,
        page * arguments.v_page_stride + slot * arguments.v_slot_stride,
    )


@njit(fastmath=FLAGS)
def attend_to_pages(arguments, q, k_cache, v_cache, pages, first_head, first_token, last_token, state):
    """Run one item: the tokens first_token <= token < last_token of a list of pages, into its state."""
    k_head, v_head = first_head * arguments.k_head_stride, first_head * arguments.v_head_stride
    state.accumulator[:] = 0
    state.running_sum[:] = 0
    state.running_max[:] = -np.inf
    tokens_ahead = tokens_to_near_tile(arguments.heads_per_list)
    for token in range(first_token, last_token, TILE_TOKENS):
        num_tokens = min(TILE_TOKENS, last_token - token)
        key, value = find_tile(arguments, pages, token)
        near = find_tile(arguments, pages, min(token + tokens_ahead, last_token - 1))
        far = find_tile(arguments, pages, min(token + tokens_ahead + TILE_TOKENS, last_token - 1))
        keys_ahead, values_ahead = (k_head + near[0], k_head + far[0]), (v_head + near[1], v_head + far[1])
        score_tile(arguments, q, k_cache, k_head + key, keys_ahead, num_tokens, state.logits)
        for q_head in range(arguments.heads_per_list * arguments.group_size):
            weigh_head(state, q_head, num_tokens, arguments.head_dim)
        add_tile(arguments, v_cache, v_head + value, values_ahead, num_tokens, state)


@njit(fastmath=FLAGS)
def merge_splits(arguments, memory, first_split, num_splits, out, lse):
    """Merge the splits of one list, in order, into its rows of out and, where wanted, lse."""
    head_dim, num_q_heads = arguments.head_dim, arguments.heads_per_list * arguments.group_size
    for q_head in range(num_q_heads):
        maximum = float32(-np.inf)
        for split in range(first_split, first_split + num_splits):
            maximum = max(maximum, memory.partial_max[split * num_q_heads + q_head])
        total = float32(0)
        row = out[q_head * head_dim : (q_head + 1) * head_dim]
        row[:] = 0
        for split in range(first_split, first_split + num_splits):
            state = split * num_q_heads + q_head
            weight = float32(2) ** (memory.partial_max[state] - maximum)
            total += weight * memory.partial_sum[state]
            for step in range(head_dim):
                row[index(step)] += weight * memory.partial_out[index(state * head_dim + step)]
        for step in range(head_dim):
            row[index(step)] /= total
        if lse.size:
            lse[q_head] = (maximum + np.log2(total)) * LN_2


@njit
def num_listed_pages(arguments, pages, context_len):
    """How many pages a list holds: those of the context, or for a selection those before the first -1."""
    if arguments.is_dense:
        return (context_len + arguments.page_size - 1) // arguments.page_size
    num_pages = 0
    while num_pages < arguments.list_width and pages[num_pages] >= 0:
        num_pages += 1
    return num_pages


@njit(fastmath=FLAGS)
def merge_if_last(arguments, memory, item, num_splits):
    """Count a finished item; whoever finishes the last split of a list merges them all."""
    request_list = item // arguments.max_splits
    if fetch_add(memory.finished_splits, request_list) < num_splits - 1:
        return
    num_q_heads = arguments.heads_per_list * arguments.group_size
    first_head, last_head = request_list * num_q_heads, (request_list + 1) * num_q_heads
    out = memory.out[first_head * arguments.head_dim : last_head * arguments.head_dim]
    first_split = request_list * arguments.max_splits
    merge_splits(arguments, memory, first_split, num_splits, out, memory.lse[first_head:last_head])


@njit(fastmath=FLAGS)
def attend_item(arguments, memory, item, logits):
    """Attend to one split of one list, then merge the list if it was the last."""
    request_list, split = item // arguments.max_splits, item % arguments.max_splits
    request, list_of_request = request_list // arguments.lists_per_request, request_list % arguments.lists_per_request
    context_len = np.int64(memory.seq_lens[request])
    pages = memory.page_lists[request_list * arguments.list_width : (request_list + 1) * arguments.list_width]
    num_pages = num_listed_pages(arguments, pages, context_len)
    if split * arguments.pages_per_split >= num_pages:
        return
    num_tokens = (num_pages - 1) * arguments.page_size + (context_len - 1) % arguments.page_size + 1
    split_tokens = arguments.pages_per_split * arguments.page_size
    num_q_heads = arguments.heads_per_list * arguments.group_size
    row_size = num_q_heads * arguments.head_dim
    state = State(
        logits,
        memory.partial_max[item * num_q_heads : (item + 1) * num_q_heads],
        memory.partial_sum[item * num_q_heads : (item + 1) * num_q_heads],
        memory.partial_out[item * row_size : (item + 1) * row_size],
    )
    q = memory.q[request_list * row_size : (request_list + 1) * row_size]
    first_head = list_of_request * arguments.heads_per_list
    last_token = min((split + 1) * split_tokens, num_tokens)
    attend_to_pages(
        arguments, q, memory.k_cache, memory.v_cache, pages, first_head, split * split_tokens, last_token, state
    )
    merge_if_last(arguments, memory, item, (num_pages + arguments.pages_per_split - 1) // arguments.pages_per_split)


@cfunc(types.void(types.CPointer(from_dtype(np.dtype(Arguments)))), cache=True, fastmath=FLAGS, error_model="numpy")
def attend_items(address):
    """What every thread runs: take items off the counter until none is left."""
    arguments = carray(address, 1)[0]
    num_lists = arguments.batch * arguments.lists_per_request
    num_items = num_lists * arguments.max_splits
    num_q_heads = arguments.heads_per_list * arguments.group_size
    memory = Memory(
        float32_at(arguments.q, num_lists * num_q_heads * arguments.head_dim),
        float32_at(arguments.k_cache, 1),
        float32_at(arguments.v_cache, 1),
        int32_at(arguments.page_lists, num_lists * arguments.list_width),
        int32_at(arguments.seq_lens, arguments.batch),
        float32_at(arguments.out, num_lists * num_q_heads * arguments.head_dim),
        float32_at(arguments.lse, num_lists * num_q_heads * arguments.has_lse),
        float32_at(arguments.partial_out, num_items * num_q_heads * arguments.head_dim),
        float32_at(arguments.partial_max, num_items * num_q_heads),
        float32_at(arguments.partial_sum, num_items * num_q_heads),
        int64_at(arguments.finished_splits, num_lists),
        int64_at(arguments.counter, 1),
    )
    logits = np.empty(num_q_heads * TILE_TOKENS, np.float32)
    item = fetch_add(memory.counter, 0)
    while item < num_items:
        attend_item(arguments, memory, item, logits)
        item = fetch_add(memory.counter, 0)
