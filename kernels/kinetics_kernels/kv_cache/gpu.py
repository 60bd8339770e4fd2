"""Append and page summaries on GPUs.

One program handles one page of one KV head. A summary is always computed from the keys in the page, in float32;
the key being appended comes from registers, so nothing waits for its own store to become visible. In a cache of 8-bit
floats a page that needs more range is scaled anew, by a power of two.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kinetics_kernels.gpu_runtime.configs import converts_e4m3, launch_variant
from kinetics_kernels.gpu_runtime.device import gpu_device_of
from kinetics_kernels.gpu_runtime.e4m3 import e4m3_operand, narrow_e4m3, scale_for, widen_e4m3
from kinetics_kernels.gpu_runtime.overlap import overlap_options, wait_for_previous
from kinetics_kernels.shapes import PagedCache, PageSummary, PageSummaryKind

TILE_SLOTS = 16
"""Keys a program reads at a time: the smallest page."""


@triton.jit
def store_summary(
    summary_ptrs,
    extremum_stride,
    key_ptrs,
    key_stride,
    scale,
    num_keys,
    newest,
    HAS_NEWEST: tl.constexpr,
    IS_MIN_MAX: tl.constexpr,
    IS_NARROW: tl.constexpr,
    IS_NATIVE: tl.constexpr,
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
        keys = tl.load(key_ptrs + slots[:, None] * key_stride, mask=is_stored, other=0.0)
        keys = widen_e4m3(keys, tl.float32, IS_NATIVE) * scale if IS_NARROW else keys.to(tl.float32)
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
def narrow_into_page(page_ptrs, slot_stride, scale_ptr, vector, slot, IS_NATIVE: tl.constexpr, TILE: tl.constexpr):
    """Write one vector [dims] into a slot of a page of 8-bit floats, scaling the slots before it anew if need be.

    Returns the page's scale.
    """
    before = tl.load(scale_ptr)
    scale = scale_for(tl.max(tl.abs(vector), axis=0))
    if slot > 0:
        scale = tl.maximum(scale, before)
        if scale > before:
            for start in range(0, slot, TILE):
                slots = start + tl.arange(0, TILE)
                ptrs = page_ptrs[None, :] + slots[:, None] * slot_stride
                is_stored = (slots < slot)[:, None]
                stored = widen_e4m3(tl.load(ptrs, mask=is_stored, other=0.0), tl.float32, IS_NATIVE)
                tl.store(ptrs, narrow_e4m3(stored * (before / scale), IS_NATIVE), mask=is_stored)
    tl.store(scale_ptr, scale)
    tl.store(page_ptrs + slot * slot_stride, narrow_e4m3(vector / scale, IS_NATIVE))
    return scale


@triton.jit
def append_kernel(
    k_ptr,
    v_ptr,
    k_cache_ptr,
    v_cache_ptr,
    k_scale_ptr,
    v_scale_ptr,
    block_table_ptr,
    seq_lens_ptr,
    summary_ptr,
    k_strides,
    v_strides,
    k_cache_strides,
    v_cache_strides,
    scale_strides,
    table_strides,
    seq_lens_stride,
    summary_strides,
    HEAD_DIM: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    IS_MIN_MAX: tl.constexpr,
    TILE: tl.constexpr,
    IS_NATIVE: tl.constexpr,
    IS_OVERLAPPED: tl.constexpr,
):
    """Write the newest key and value of one KV head of one request; grid (kv_head, request)."""
    wait_for_previous(IS_OVERLAPPED)
    IS_NARROW: tl.constexpr = k_scale_ptr is not None
    head, request = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    position = tl.load(seq_lens_ptr + request * seq_lens_stride) - 1
    if position < 0:
        return
    page = tl.load(block_table_ptr + request * table_strides[0] + position // PAGE_SIZE * table_strides[1])
    page = page.to(tl.int64)
    slot = position % PAGE_SIZE
    dims = tl.arange(0, HEAD_DIM)
    key = tl.load(k_ptr + request * k_strides[0] + head * k_strides[1] + dims * k_strides[2])
    value = tl.load(v_ptr + request * v_strides[0] + head * v_strides[1] + dims * v_strides[2])
    k_page_ptrs = k_cache_ptr + page * k_cache_strides[0] + head * k_cache_strides[2] + dims * k_cache_strides[3]
    v_page_ptrs = v_cache_ptr + page * v_cache_strides[0] + head * v_cache_strides[2] + dims * v_cache_strides[3]
    newest, scale = key.to(tl.float32), 1.0
    if IS_NARROW:
        scale_at = page * scale_strides[0] + head * scale_strides[1]
        scale = narrow_into_page(k_page_ptrs, k_cache_strides[1], k_scale_ptr + scale_at, newest, slot, IS_NATIVE, TILE)
        newest = widen_e4m3(narrow_e4m3(newest / scale, IS_NATIVE), tl.float32, IS_NATIVE) * scale
        narrow_into_page(
            v_page_ptrs, v_cache_strides[1], v_scale_ptr + scale_at, value.to(tl.float32), slot, IS_NATIVE, TILE
        )
        # Keys that were scaled anew are read again below, by other threads than those that wrote them.
        tl.debug_barrier()
    else:
        tl.store(k_page_ptrs + slot * k_cache_strides[1], key)
        tl.store(v_page_ptrs + slot * v_cache_strides[1], value)
    if summary_ptr is not None:
        summary_ptr += page * summary_strides[0] + head * summary_strides[2]
        store_summary(
            summary_ptr + dims * summary_strides[3],
            summary_strides[1],
            k_page_ptrs[None, :],
            k_cache_strides[1],
            scale,
            slot + 1,
            newest,
            True,
            IS_MIN_MAX,
            IS_NARROW,
            IS_NATIVE,
            HEAD_DIM,
            TILE,
        )


@triton.jit
def summarize_kernel(
    k_cache_ptr,
    k_scale_ptr,
    block_table_ptr,
    seq_lens_ptr,
    summary_ptr,
    k_cache_strides,
    scale_strides,
    table_strides,
    seq_lens_stride,
    summary_strides,
    num_kv_heads,
    HEAD_DIM: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    IS_MIN_MAX: tl.constexpr,
    TILE: tl.constexpr,
    IS_NATIVE: tl.constexpr,
):
    """Summarise one page of one KV head; grid (max_pages * num_kv_heads, request), heads fastest."""
    IS_NARROW: tl.constexpr = k_scale_ptr is not None
    head, logical_page = (tl.program_id(0) % num_kv_heads).to(tl.int64), tl.program_id(0) // num_kv_heads
    request = tl.program_id(1).to(tl.int64)
    num_keys = tl.load(seq_lens_ptr + request * seq_lens_stride) - logical_page * PAGE_SIZE
    if num_keys <= 0:
        return
    page = tl.load(block_table_ptr + request * table_strides[0] + logical_page * table_strides[1]).to(tl.int64)
    dims = tl.arange(0, HEAD_DIM)
    k_page_ptrs = k_cache_ptr + page * k_cache_strides[0] + head * k_cache_strides[2] + dims * k_cache_strides[3]
    scale = tl.load(k_scale_ptr + page * scale_strides[0] + head * scale_strides[1]) if IS_NARROW else 1.0
    summary_ptr += page * summary_strides[0] + head * summary_strides[2]
    store_summary(
        summary_ptr + dims * summary_strides[3],
        summary_strides[1],
        k_page_ptrs[None, :],
        k_cache_strides[1],
        scale,
        tl.minimum(num_keys, PAGE_SIZE),
        0.0,
        False,
        IS_MIN_MAX,
        IS_NARROW,
        IS_NATIVE,
        HEAD_DIM,
        TILE,
    )


def append_kv(k: torch.Tensor, v: torch.Tensor, cache: PagedCache, *, page_summary: PageSummary | None) -> None:
    """Write each request's newest key and value at position seq_len - 1; then summarise the page it fell into."""
    batch, num_kv_heads, head_dim = k.shape
    is_native = cache.k_scale is None or converts_e4m3(k)
    is_overlapped = launch_variant(gpu_device_of(k).arch).is_overlapped
    append_kernel[(num_kv_heads, batch)](
        k,
        v,
        e4m3_operand(cache.k_cache, is_native=is_native),
        e4m3_operand(cache.v_cache, is_native=is_native),
        cache.k_scale,
        cache.v_scale,
        cache.block_table,
        cache.seq_lens,
        None if page_summary is None else page_summary.values,
        k.stride(),
        v.stride(),
        cache.k_cache.stride(),
        cache.v_cache.stride(),
        (0, 0) if cache.k_scale is None else cache.k_scale.stride(),
        cache.block_table.stride(),
        cache.seq_lens.stride(0),
        (0, 0, 0, 0) if page_summary is None else summary_strides(page_summary),
        HEAD_DIM=head_dim,
        PAGE_SIZE=cache.page_size,
        IS_MIN_MAX=page_summary is not None and page_summary.kind is PageSummaryKind.MIN_MAX,
        TILE=TILE_SLOTS,
        IS_NATIVE=is_native,
        IS_OVERLAPPED=is_overlapped,
        num_warps=4,
        **overlap_options(is_overlapped=is_overlapped),
    )


def summarize_pages(cache: PagedCache, *, page_summary: PageSummary) -> None:
    """Write the summary of every page the requests use; other pages keep theirs."""
    batch, max_pages = cache.block_table.shape
    is_native = cache.k_scale is None or converts_e4m3(cache.k_cache)
    summarize_kernel[(max_pages * cache.num_kv_heads, batch)](
        e4m3_operand(cache.k_cache, is_native=is_native),
        cache.k_scale,
        cache.block_table,
        cache.seq_lens,
        page_summary.values,
        cache.k_cache.stride(),
        (0, 0) if cache.k_scale is None else cache.k_scale.stride(),
        cache.block_table.stride(),
        cache.seq_lens.stride(0),
        summary_strides(page_summary),
        cache.num_kv_heads,
        HEAD_DIM=cache.head_dim,
        PAGE_SIZE=cache.page_size,
        IS_MIN_MAX=page_summary.kind is PageSummaryKind.MIN_MAX,
        TILE=TILE_SLOTS,
        IS_NATIVE=is_native,
        num_warps=4,
    )


def summary_strides(page_summary: PageSummary) -> tuple[int, int, int, int]:
    """Strides of page, extremum (0 where there is one row per page), KV head and dim."""
    page, *extremum, head, dim = page_summary.values.stride()
    return page, extremum[0] if extremum else 0, head, dim
