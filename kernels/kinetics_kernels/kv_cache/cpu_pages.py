"""Writing new tokens and summarising pages on the CPU, compiled.

Both entry points summarise a page with the same function, slot by slot, so a summary kept up by appends is bit for bit
the one computed from scratch. Layouts: any strides over pages, slots and heads, unit stride over head_dim.
"""

# Compiled by numba, which types it: mypy sees the decorators, not the code.
# mypy: ignore-errors

from __future__ import annotations

from collections import namedtuple
from ctypes import Structure, c_int64

import numpy as np
from numba import carray, cfunc, from_dtype, njit, types

from kinetics_kernels.cpu_runtime.intrinsics import fetch_add, float32_at, int32_at, int64_at
from kinetics_kernels.cpu_runtime.simd import LANES, load, splat, store, where_less


class Arguments(Structure):
    """What both kernels are given: addresses, sizes, strides in elements; summaries alone need no k, v and v_cache."""

    _fields_ = (
        *((name, c_int64) for name in ("k", "v", "k_cache", "v_cache", "summary")),
        *((name, c_int64) for name in ("block_table", "seq_lens", "counter")),
        *((name, c_int64) for name in ("batch", "num_kv_heads", "head_dim", "page_size", "table_width")),
        *((name, c_int64) for name in ("k_page_stride", "k_slot_stride", "k_head_stride")),
        *((name, c_int64) for name in ("v_page_stride", "v_slot_stride", "v_head_stride")),
        *((name, c_int64) for name in ("summary_page_stride", "summary_part_stride", "summary_head_stride")),
        *((name, c_int64) for name in ("has_summary", "has_extrema")),
    )


Memory = namedtuple("Memory", "k v k_cache v_cache summary block_table seq_lens counter")

index = np.uint64
float32 = np.float32


@njit
def open_memory(arguments):
    """The arrays behind the addresses. Caches and summary are only ever indexed, so their size is not stated."""
    size = arguments.batch * arguments.num_kv_heads * arguments.head_dim
    return Memory(
        float32_at(arguments.k, size),
        float32_at(arguments.v, size),
        float32_at(arguments.k_cache, 1),
        float32_at(arguments.v_cache, 1),
        float32_at(arguments.summary, 1),
        int32_at(arguments.block_table, arguments.batch * arguments.table_width),
        int32_at(arguments.seq_lens, arguments.batch),
        int64_at(arguments.counter, 1),
    )


@njit
def store_mean(keys, key, slot_stride, num_tokens, summary, at):
    """The mean of eight dimensions over the tokens of a page."""
    total = load(keys, index(key))
    for slot in range(1, num_tokens):
        total = total + load(keys, index(key + slot * slot_stride))
    store(summary, index(at), total * splat(float32(1) / float32(num_tokens)))


@njit
def store_extrema(keys, key, slot_stride, num_tokens, summary, at, part_stride):
    """The minimum and the maximum of eight dimensions over the tokens of a page."""
    lowest = load(keys, index(key))
    highest = lowest
    for slot in range(1, num_tokens):
        values = load(keys, index(key + slot * slot_stride))
        lowest = where_less(values, lowest, values, lowest)
        highest = where_less(highest, values, values, highest)
    store(summary, index(at), lowest)
    store(summary, index(at + part_stride), highest)


@njit
def summarize_page(arguments, memory, page, num_tokens):
    """Summarise the first tokens of one page for all heads."""
    slot_stride, part_stride = arguments.k_slot_stride, arguments.summary_part_stride
    for kv_head in range(arguments.num_kv_heads):
        key = page * arguments.k_page_stride + kv_head * arguments.k_head_stride
        at = page * arguments.summary_page_stride + kv_head * arguments.summary_head_stride
        for d in range(0, arguments.head_dim, LANES):
            if arguments.has_extrema:
                store_extrema(memory.k_cache, key + d, slot_stride, num_tokens, memory.summary, at + d, part_stride)
            else:
                store_mean(memory.k_cache, key + d, slot_stride, num_tokens, memory.summary, at + d)


@njit
def append_item(arguments, memory, request):
    """Write one request's new key and value, then summarise the page they fell into."""
    position = np.int64(memory.seq_lens[request]) - 1
    page = np.int64(memory.block_table[request * arguments.table_width + position // arguments.page_size])
    slot = position % arguments.page_size
    for kv_head in range(arguments.num_kv_heads):
        new = (request * arguments.num_kv_heads + kv_head) * arguments.head_dim
        k_at = page * arguments.k_page_stride + slot * arguments.k_slot_stride + kv_head * arguments.k_head_stride
        v_at = page * arguments.v_page_stride + slot * arguments.v_slot_stride + kv_head * arguments.v_head_stride
        for d in range(0, arguments.head_dim, LANES):
            store(memory.k_cache, index(k_at + d), load(memory.k, index(new + d)))
            store(memory.v_cache, index(v_at + d), load(memory.v, index(new + d)))
    if arguments.has_summary:
        summarize_page(arguments, memory, page, slot + 1)


@njit
def summarize_item(arguments, memory, item):
    """Summarise one page of one request, if it has it."""
    request, logical_page = item // arguments.table_width, item % arguments.table_width
    num_tokens = memory.seq_lens[request] - logical_page * arguments.page_size
    if num_tokens > 0:
        page = np.int64(memory.block_table[item])
        summarize_page(arguments, memory, page, min(num_tokens, arguments.page_size))


@cfunc(types.void(types.CPointer(from_dtype(np.dtype(Arguments)))), cache=True, error_model="numpy")
def append_items(address):
    """What every thread runs: take requests off the counter until none is left."""
    arguments = carray(address, 1)[0]
    memory = open_memory(arguments)
    request = fetch_add(memory.counter, 0)
    while request < arguments.batch:
        append_item(arguments, memory, request)
        request = fetch_add(memory.counter, 0)


@cfunc(types.void(types.CPointer(from_dtype(np.dtype(Arguments)))), cache=True, error_model="numpy")
def summarize_items(address):
    """What every thread runs: take pages off the counter until none is left."""
    arguments = carray(address, 1)[0]
    memory = open_memory(arguments)
    item = fetch_add(memory.counter, 0)
    while item < arguments.batch * arguments.table_width:
        summarize_item(arguments, memory, item)
        item = fetch_add(memory.counter, 0)
