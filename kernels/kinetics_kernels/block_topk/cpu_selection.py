"""Page scores and page selection on the CPU, compiled.

Both kinds of summary score as dot products. MEAN: the group's mean query times the mean key. MIN_MAX: the bound
sum_d max(q*min, q*max) equals min(q, 0).min + max(q, 0).max, so averaged over the group it is two products, whatever
the group size. Scores of a page, all heads together, are one run of memory.

Selection needs no sort: halving the range of scores finds the lowest one that is kept, and one ascending pass keeps
what lies above it and as many ties as fit.
"""

# Compiled by numba, which types it: mypy sees the decorators, not the code.
# mypy: ignore-errors

from __future__ import annotations

from collections import namedtuple
from ctypes import Structure, c_int64

import numpy as np
from numba import carray, cfunc, from_dtype, njit, types

from kinetics_kernels.cpu_runtime.intrinsics import fetch_add, float32_at, int32_at, int64_at
from kinetics_kernels.cpu_runtime.simd import FLAGS, LANES, dot_eight_rows, store


class ScoreArguments(Structure):
    """What scoring is given: addresses, sizes, strides of the summary in elements."""

    _fields_ = (
        *((name, c_int64) for name in ("counter", "q", "summary", "block_table", "seq_lens", "scores")),
        *((name, c_int64) for name in ("batch", "num_kv_heads", "group_size", "head_dim", "page_size")),
        *((name, c_int64) for name in ("table_width", "pages_per_item", "has_extrema")),
        *((name, c_int64) for name in ("page_stride", "part_stride", "head_stride")),
    )


class SelectArguments(Structure):
    """What selection is given: addresses and sizes."""

    _fields_ = (
        *((name, c_int64) for name in ("counter", "scores", "block_table", "seq_lens", "page_indices")),
        *((name, c_int64) for name in ("batch", "num_kv_heads", "page_size", "table_width", "list_width")),
        *((name, c_int64) for name in ("num_sink_pages", "num_local_pages")),
    )


ScoreMemory = namedtuple("ScoreMemory", "q summary block_table seq_lens scores counter")
SelectMemory = namedtuple("SelectMemory", "scores block_table seq_lens page_indices counter")

index = np.uint64
float32 = np.float32


@njit
def num_present_pages(context_len, page_size):
    """Pages that hold a context."""
    return (np.int64(context_len) + page_size - 1) // page_size


@njit(fastmath=FLAGS)
def average_group(arguments, q, queries):
    """The group's mean query of each KV head; for MIN_MAX the mean of its negative and of its positive parts."""
    group_size, head_dim = arguments.group_size, arguments.head_dim
    size = arguments.num_kv_heads * head_dim
    for position in range(size):
        kv_head, d = position // head_dim, position % head_dim
        negative, positive = float32(0), float32(0)
        for q_head in range(kv_head * group_size, (kv_head + 1) * group_size):
            x = q[q_head * head_dim + d]
            negative += float32(0) if x > 0 else x
            positive += float32(0) if x < 0 else x
        if arguments.has_extrema:
            queries[position] = negative / float32(group_size)
            queries[size + position] = positive / float32(group_size)
        else:
            queries[position] = (negative + positive) / float32(group_size)


@njit
def summary_rows(pages, first_page, last_page, page_stride, offset):
    """Where the summaries of eight pages start; those past the last page repeat it."""
    last = last_page - 1
    return (
        index(pages[first_page] * page_stride + offset),
        index(pages[min(first_page + 1, last)] * page_stride + offset),
        index(pages[min(first_page + 2, last)] * page_stride + offset),
        index(pages[min(first_page + 3, last)] * page_stride + offset),
        index(pages[min(first_page + 4, last)] * page_stride + offset),
        index(pages[min(first_page + 5, last)] * page_stride + offset),
        index(pages[min(first_page + 6, last)] * page_stride + offset),
        index(pages[min(first_page + 7, last)] * page_stride + offset),
    )


@njit(fastmath=FLAGS)
def score_eight_pages(arguments, memory, queries, pages, first_page, last_page, scores, eight):
    """Scores of up to eight pages for every KV head; `scores` are the request's, [num_kv_heads, table_width]."""
    head_dim, page_stride = arguments.head_dim, arguments.page_stride
    for kv_head in range(arguments.num_kv_heads):
        offset = kv_head * arguments.head_stride
        rows = summary_rows(pages, first_page, last_page, page_stride, offset)
        dots = dot_eight_rows(queries, index(kv_head * head_dim), memory.summary, rows, head_dim)
        if arguments.has_extrema:
            rows = summary_rows(pages, first_page, last_page, page_stride, offset + arguments.part_stride)
            query = index((arguments.num_kv_heads + kv_head) * head_dim)
            dots = dots + dot_eight_rows(queries, query, memory.summary, rows, head_dim)
        store(eight, index(0), dots)
        for page in range(first_page, min(first_page + LANES, last_page)):
            scores[kv_head * arguments.table_width + page] = eight[page - first_page]


@njit(fastmath=FLAGS)
def score_item(arguments, memory, item, queries, eight):
    """Score a run of pages of one request, -inf for those it does not have."""
    width, items_per_request = arguments.table_width, -(-arguments.table_width // arguments.pages_per_item)
    request, first_page = item // items_per_request, item % items_per_request * arguments.pages_per_item
    end = min(first_page + arguments.pages_per_item, width)
    num_present = num_present_pages(memory.seq_lens[request], arguments.page_size)
    last_page = min(end, num_present)
    q_size = arguments.num_kv_heads * arguments.group_size * arguments.head_dim
    scores_size = arguments.num_kv_heads * width
    scores = memory.scores[request * scores_size : (request + 1) * scores_size]
    if first_page < last_page:
        average_group(arguments, memory.q[request * q_size : (request + 1) * q_size], queries)
    pages = memory.block_table[request * width : (request + 1) * width]
    for page in range(first_page, last_page, LANES):
        score_eight_pages(arguments, memory, queries, pages, page, last_page, scores, eight)
    for kv_head in range(arguments.num_kv_heads):
        for page in range(max(first_page, num_present), end):
            scores[kv_head * width + page] = float32(-np.inf)


@cfunc(
    types.void(types.CPointer(from_dtype(np.dtype(ScoreArguments)))), cache=True, fastmath=FLAGS, error_model="numpy"
)
def score_items(address):
    """What every thread runs: take runs of pages off the counter until none is left."""
    arguments = carray(address, 1)[0]
    batch, width, num_kv_heads = arguments.batch, arguments.table_width, arguments.num_kv_heads
    num_items = batch * -(-width // arguments.pages_per_item)
    memory = ScoreMemory(
        float32_at(arguments.q, batch * num_kv_heads * arguments.group_size * arguments.head_dim),
        float32_at(arguments.summary, 1),
        int32_at(arguments.block_table, batch * width),
        int32_at(arguments.seq_lens, batch),
        float32_at(arguments.scores, batch * num_kv_heads * width),
        int64_at(arguments.counter, 1),
    )
    queries = np.empty(2 * num_kv_heads * arguments.head_dim, np.float32)
    eight = np.empty(LANES, np.float32)
    item = fetch_add(memory.counter, 0)
    while item < num_items:
        score_item(arguments, memory, item, queries, eight)
        item = fetch_add(memory.counter, 0)


@njit
def order_keys(scores, first, last, sortable, keys):
    """Integers that order as the scores do: `keys` and `sortable` are one memory, read as int32 and as float32."""
    for position in range(first, last):
        # Adding zero turns -0 into +0, which must tie with it.
        sortable[index(position)] = scores[index(position)] + float32(0)
    for position in range(first, last):
        bits = keys[index(position)]
        keys[index(position)] = bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@njit
def count_at_least(keys, first, last, bound):
    """How many keys are at least `bound`; one pass of compares that vectorises."""
    count = np.int32(0)
    for position in range(first, last):
        count += np.int32(keys[index(position)] >= bound)
    return count


@njit
def bound_of_best(keys, first, last, num_kept):
    """A bound that at most num_kept keys exceed and, with those equal to it, at least num_kept keys reach.

    Halving the range of int32 ends at the num_kept-th largest key, or early where num_kept keys exceed the bound.
    """
    low, high = np.int64(-(2**31)), np.int64(2**31 - 1)
    while low < high:
        middle = low + (high - low + 1) // 2
        count = count_at_least(keys, first, last, np.int32(middle))
        if count == num_kept:
            return np.int32(middle - 1)
        if count > num_kept:
            low = middle
        else:
            high = middle - 1
    return np.int32(low)


@njit
def keep_best(scores, first, last, num_kept, sortable, keys, pages, kept, num_written):
    """Write the pages of the num_kept best scores of first <= page < last, ascending, ties to the lowest page."""
    if num_kept == 0:
        return num_written
    order_keys(scores, first, last, sortable, keys)
    bound = bound_of_best(keys, first, last, num_kept)
    num_ties = num_kept - count_at_least(keys, first, last, np.int32(bound + 1))
    for page in range(first, last):
        key = keys[index(page)]
        is_tie = key == bound and num_ties > 0
        if key > bound or is_tie:
            num_ties -= is_tie
            kept[num_written] = pages[page]
            num_written += 1
    return num_written


@njit
def select_item(arguments, memory, item, sortable, keys):
    """Write the page list of one request and KV head: sink pages, the best of those between, local and current."""
    width, list_width = arguments.table_width, arguments.list_width
    request = item // arguments.num_kv_heads
    num_present = num_present_pages(memory.seq_lens[request], arguments.page_size)
    scores = memory.scores[item * width : (item + 1) * width]
    pages = memory.block_table[request * width : (request + 1) * width]
    kept = memory.page_indices[item * list_width : (item + 1) * list_width]
    sink_end = min(arguments.num_sink_pages, num_present)
    local_start = max(num_present - 1 - arguments.num_local_pages, sink_end)
    num_forced = sink_end + num_present - local_start
    num_best = min(list_width - num_forced, local_start - sink_end)
    num_written = 0
    for page in range(sink_end):
        kept[num_written] = pages[page]
        num_written += 1
    num_written = keep_best(scores, sink_end, local_start, num_best, sortable, keys, pages, kept, num_written)
    for page in range(local_start, num_present):
        kept[num_written] = pages[page]
        num_written += 1
    for position in range(num_written, list_width):
        kept[position] = -1


@cfunc(types.void(types.CPointer(from_dtype(np.dtype(SelectArguments)))), cache=True, error_model="numpy")
def select_items(address):
    """What every thread runs: take page lists off the counter until none is left."""
    arguments = carray(address, 1)[0]
    num_items = arguments.batch * arguments.num_kv_heads
    memory = SelectMemory(
        float32_at(arguments.scores, num_items * arguments.table_width),
        int32_at(arguments.block_table, arguments.batch * arguments.table_width),
        int32_at(arguments.seq_lens, arguments.batch),
        int32_at(arguments.page_indices, num_items * arguments.list_width),
        int64_at(arguments.counter, 1),
    )
    sortable = np.empty(arguments.table_width, np.float32)
    keys = sortable.view(np.int32)
    item = fetch_add(memory.counter, 0)
    while item < num_items:
        select_item(arguments, memory, item, sortable, keys)
        item = fetch_add(memory.counter, 0)
