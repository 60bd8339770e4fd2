"""Append and page summaries on GPUs.

One program handles one page of one KV head. A summary is always computed from the keys in the page, in float32;
the key being appended comes from registers, so nothing waits for its own store to become visible.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kinetics_kernels.shapes import PagedCache, PageSummary, PageSummaryKind

TILE_SLOTS = 16
"""Keys a program reads at a time: the smallest page."""


@triton.jit
def store_summary(
    summary_ptrs,
    extremum_stride,
    key_ptrs,
    key_stride,
    num_keys,
    newest,
    HAS_NEWEST: tl.constexpr,
    IS_MIN_MAX: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    TILE: tl.constexpr,
):
    """Summarise the first `num_keys` keys of a page; with HAS_NEWEST the last is `newest`, not in memory yet."""
    total = tl.zeros([HEAD_DIM], tl.float32)
    smallest = tl.full([HEAD_DIM], float("inf"), tl.float32)
    largest = tl.full([HEAD_DIM], float("-inf"), tl.float32)
    num_stored = num_keys - 1 if HAS_NEWEST else num_keys
    for start in range(0, num_stored, TILE):
        slots = start + tl.arange(0, TILE)
        is_stored = (slots < num_stored)[:, None]
        keys = tl.load(key_ptrs + slots[:, None] * key_stride, mask=is_stored, other=0.0).to(tl.float32)
        if IS_MIN_MAX:
            smallest = tl.minimum(smallest, tl.min(tl.where(is_stored, keys, float("inf")), axis=0))
            largest = tl.maximum(largest, tl.max(tl.where(is_stored, keys, float("-inf")), axis=0))
        else:
            total += tl.sum(keys, axis=0)
    if HAS_NEWEST:
        total += newest
        smallest = tl.minimum(smallest, newest)
        largest = tl.maximum(largest, newest)
    element = summary_ptrs.dtype.element_ty
    if IS_MIN_MAX:
        tl.store(summary_ptrs, smallest.to(element))
        tl.store(summary_ptrs + extremum_stride, largest.to(element))
    else:
        tl.store(summary_ptrs, (total / num_keys).to(element))


@triton.jit
def append_kernel(
    k_ptr,
    v_ptr,
    k_cache_ptr,
    v_cache_ptr,
    block_table_ptr,
    seq_lens_ptr,
    summary_ptr,
    k_stride_batch,
    k_stride_head,
    k_stride_dim,
    v_stride_batch,
    v_stride_head,
    v_stride_dim,
    k_cache_stride_page,
    k_cache_stride_token,
    k_cache_stride_head,
    k_cache_stride_dim,
    v_cache_stride_page,
    v_cache_stride_token,
    v_cache_stride_head,
    v_cache_stride_dim,
    table_stride_batch,
    table_stride_page,
    seq_lens_stride,
    summary_stride_page,
    summary_stride_extremum,
    summary_stride_head,
    summary_stride_dim,
    HEAD_DIM: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    IS_MIN_MAX: tl.constexpr,
    TILE: tl.constexpr,
):
    """Write the newest key and value of one KV head of one request; grid (kv_head, request)."""
    head, request = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    position = tl.load(seq_lens_ptr + request * seq_lens_stride) - 1
    if position < 0:
        return
    page = tl.load(block_table_ptr + request * table_stride_batch + position // PAGE_SIZE * table_stride_page)
    page = page.to(tl.int64)
    slot = position % PAGE_SIZE
    dims = tl.arange(0, HEAD_DIM)
    key = tl.load(k_ptr + request * k_stride_batch + head * k_stride_head + dims * k_stride_dim)
    value = tl.load(v_ptr + request * v_stride_batch + head * v_stride_head + dims * v_stride_dim)
    k_page_ptrs = k_cache_ptr + page * k_cache_stride_page + head * k_cache_stride_head + dims * k_cache_stride_dim
    v_page_ptrs = v_cache_ptr + page * v_cache_stride_page + head * v_cache_stride_head + dims * v_cache_stride_dim
    tl.store(k_page_ptrs + slot * k_cache_stride_token, key)
    tl.store(v_page_ptrs + slot * v_cache_stride_token, value)
    if summary_ptr is not None:
        summary_ptr += page * summary_stride_page + head * summary_stride_head
        store_summary(
            summary_ptr + dims * summary_stride_dim,
            summary_stride_extremum,
            k_page_ptrs[None, :],
            k_cache_stride_token,
            slot + 1,
            key.to(tl.float32),
            True,
            IS_MIN_MAX,
            HEAD_DIM,
            TILE,
        )


@triton.jit
def summarize_kernel(
    k_cache_ptr,
    block_table_ptr,
    seq_lens_ptr,
    summary_ptr,
    k_cache_stride_page,
    k_cache_stride_token,
    k_cache_stride_head,
    k_cache_stride_dim,
    table_stride_batch,
    table_stride_page,
    seq_lens_stride,
    summary_stride_page,
    summary_stride_extremum,
    summary_stride_head,
    summary_stride_dim,
    num_kv_heads,
    HEAD_DIM: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    IS_MIN_MAX: tl.constexpr,
    TILE: tl.constexpr,
):
    """Summarise one page of one KV head; grid (max_pages * num_kv_heads, request), heads fastest."""
    head = (tl.program_id(0) % num_kv_heads).to(tl.int64)
    logical_page = tl.program_id(0) // num_kv_heads
    request = tl.program_id(1).to(tl.int64)
    num_keys = tl.load(seq_lens_ptr + request * seq_lens_stride) - logical_page * PAGE_SIZE
    if num_keys <= 0:
        return
    page = tl.load(block_table_ptr + request * table_stride_batch + logical_page * table_stride_page).to(tl.int64)
    dims = tl.arange(0, HEAD_DIM)
    k_page_ptrs = k_cache_ptr + page * k_cache_stride_page + head * k_cache_stride_head + dims * k_cache_stride_dim
    summary_ptr += page * summary_stride_page + head * summary_stride_head
    store_summary(
        summary_ptr + dims * summary_stride_dim,
        summary_stride_extremum,
        k_page_ptrs[None, :],
        k_cache_stride_token,
        tl.minimum(num_keys, PAGE_SIZE),
        0.0,
        False,
        IS_MIN_MAX,
        HEAD_DIM,
        TILE,
    )


def append_kv(k: torch.Tensor, v: torch.Tensor, cache: PagedCache, *, page_summary: PageSummary | None) -> None:
    """Write each request's newest key and value at position seq_len - 1; then summarise the page it fell into."""
    batch, num_kv_heads, head_dim = k.shape
    append_kernel[(num_kv_heads, batch)](
        k,
        v,
        cache.k_cache,
        cache.v_cache,
        cache.block_table,
        cache.seq_lens,
        None if page_summary is None else page_summary.values,
        *k.stride(),
        *v.stride(),
        *cache.k_cache.stride(),
        *cache.v_cache.stride(),
        *cache.block_table.stride(),
        *cache.seq_lens.stride(),
        *((0, 0, 0, 0) if page_summary is None else summary_strides(page_summary)),
        HEAD_DIM=head_dim,
        PAGE_SIZE=cache.page_size,
        IS_MIN_MAX=page_summary is not None and page_summary.kind is PageSummaryKind.MIN_MAX,
        TILE=TILE_SLOTS,
        num_warps=4,
    )


def summarize_pages(cache: PagedCache, *, page_summary: PageSummary) -> None:
    """Write the summary of every page the requests use; other pages keep theirs."""
    batch, max_pages = cache.block_table.shape
    summarize_kernel[(max_pages * cache.num_kv_heads, batch)](
        cache.k_cache,
        cache.block_table,
        cache.seq_lens,
        page_summary.values,
        *cache.k_cache.stride(),
        *cache.block_table.stride(),
        *cache.seq_lens.stride(),
        *summary_strides(page_summary),
        cache.num_kv_heads,
        HEAD_DIM=cache.head_dim,
        PAGE_SIZE=cache.page_size,
        IS_MIN_MAX=page_summary.kind is PageSummaryKind.MIN_MAX,
        TILE=TILE_SLOTS,
        num_warps=4,
    )


def summary_strides(page_summary: PageSummary) -> tuple[int, int, int, int]:
    """Strides of page, extremum (0 where there is one row per page), KV head and dim."""
    page, *extremum, head, dim = page_summary.values.stride()
    return page, extremum[0] if extremum else 0, head, dim
