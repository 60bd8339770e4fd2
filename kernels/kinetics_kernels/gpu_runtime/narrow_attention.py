"""`split_attention` over keys and values of 8 bits, widened in registers: half the bytes, the same sums in float32.

Both products run in float16, which holds every 8-bit float exactly and converts from it in one instruction. What could
leave its range is kept near one by powers of two, which lose nothing: each row of the query, and the weights, which
carry the scales of the values relative to the largest of the split.

Layouts: as in `split_attention`; scales (page, head).
"""

from __future__ import annotations

import triton
import triton.language as tl

from kinetics_kernels.gpu_runtime.e4m3 import scale_for, widen_e4m3
from kinetics_kernels.gpu_runtime.split_attention import load_page_ids, token_offsets

SCALES_BLOCK = tl.constexpr(32)
"""Pages whose scales are compared at a time."""


@triton.jit
def normalize_rows(q):
    """The rows of a query by powers of two near one, in float16 (float32 stays), and those powers [rows, 1]."""
    powers = scale_for(tl.max(tl.abs(q.to(tl.float32)), axis=1))[:, None]
    dtype: tl.constexpr = tl.float32 if q.dtype == tl.float32 else tl.float16
    return (q.to(tl.float32) / powers).to(dtype), powers


@triton.jit
def load_scales(scale_ptr, page_ids, kv_head, strides, PAGE_SIZE: tl.constexpr, TILE_TOKENS: tl.constexpr):
    """The scale of each token's page, [1, TILE_TOKENS]; one number where a tile lies in one page."""
    scales = tl.load(scale_ptr + page_ids.to(tl.int64) * strides[0] + kv_head * strides[1])
    if TILE_TOKENS > PAGE_SIZE:
        scales = scales[None, :]
    return scales


@triton.jit
def largest_scale(
    scale_ptr, list_ptr, list_stride, kv_head, start, end, strides, PAGE_SIZE: tl.constexpr, BLOCK: tl.constexpr
):
    """The largest scale of the pages that hold the tokens start <= token < end of a list."""
    scale_ptr += kv_head * strides[1]
    largest = 0.0
    for first_page in range(start // PAGE_SIZE, tl.cdiv(end, PAGE_SIZE), BLOCK):
        pages = first_page + tl.arange(0, BLOCK)
        has_page = pages < tl.cdiv(end, PAGE_SIZE)
        page_ids = tl.load(list_ptr + pages * list_stride, mask=has_page, other=0)
        scales = tl.load(scale_ptr + page_ids.to(tl.int64) * strides[0], mask=has_page, other=0.0)
        largest = tl.maximum(largest, tl.max(scales, axis=0))
    return largest


@triton.jit
def fold_narrow_tile(accumulator, weight_sums, running_max, logits, values, shares):
    """`online_softmax.fold_tile` with the share of each token's values in the unit that the accumulator counts in."""
    new_max = tl.maximum(running_max, tl.max(logits, axis=1))
    rescale = tl.exp2(running_max - new_max)
    weights = tl.exp2(logits - new_max[:, None])
    weight_sums = weight_sums * rescale[:, None] + weights
    shared = (weights * shares).to(values.dtype)
    accumulator = tl.dot(shared, values, accumulator * rescale[:, None], input_precision="ieee")
    return accumulator, weight_sums, new_max


@triton.jit
def attend_to_narrow_tokens(
    q,
    k_cache_ptr,
    v_cache_ptr,
    k_scale_ptr,
    v_scale_ptr,
    list_ptr,
    kv_head,
    start,
    end,
    scale_log2e,
    k_strides,
    v_strides,
    scale_strides,
    list_stride,
    PAGE_SIZE: tl.constexpr,
    TILE_TOKENS: tl.constexpr,
    IS_NATIVE: tl.constexpr,
):
    """`split_attention.attend_to_tokens` with the scales of keys and values, of one layout."""
    dims = tl.arange(0, q.shape[1])
    k_ptrs = k_cache_ptr + kv_head.to(tl.int64) * k_strides[2] + dims[None, :] * k_strides[3]
    v_ptrs = v_cache_ptr + kv_head.to(tl.int64) * v_strides[2] + dims[None, :] * v_strides[3]
    running_max = tl.full([q.shape[0]], float("-inf"), tl.float32)
    weight_sums = tl.zeros([q.shape[0], TILE_TOKENS], tl.float32)
    accumulator = tl.zeros([q.shape[0], q.shape[1]], tl.float32)
    unit = largest_scale(
        v_scale_ptr, list_ptr, list_stride, kv_head, start, end, scale_strides, PAGE_SIZE, SCALES_BLOCK
    )
    q, row_scales = normalize_rows(q)
    row_scales *= scale_log2e

    page_ids = load_page_ids(list_ptr, list_stride, start, end, PAGE_SIZE, TILE_TOKENS)
    tail_start = start + (end - start) // TILE_TOKENS * TILE_TOKENS
    for tile_start in range(start, tail_start, TILE_TOKENS):
        k_offsets = token_offsets(page_ids, tile_start, k_strides, PAGE_SIZE, TILE_TOKENS)
        v_offsets = token_offsets(page_ids, tile_start, v_strides, PAGE_SIZE, TILE_TOKENS)
        k_scales = load_scales(k_scale_ptr, page_ids, kv_head, scale_strides, PAGE_SIZE, TILE_TOKENS)
        v_scales = load_scales(v_scale_ptr, page_ids, kv_head, scale_strides, PAGE_SIZE, TILE_TOKENS)
        # One tile ahead, so that no K load waits for its page id.
        page_ids = load_page_ids(list_ptr, list_stride, tile_start + TILE_TOKENS, end, PAGE_SIZE, TILE_TOKENS)
        keys = widen_e4m3(tl.load(k_ptrs + k_offsets), q.dtype, IS_NATIVE)
        logits = tl.dot(q, tl.trans(keys), input_precision="ieee") * (row_scales * k_scales)
        values = widen_e4m3(tl.load(v_ptrs + v_offsets), q.dtype, IS_NATIVE)
        accumulator, weight_sums, running_max = fold_narrow_tile(
            accumulator, weight_sums, running_max, logits, values, v_scales / unit
        )
    if tail_start < end:
        page_ids = load_page_ids(list_ptr, list_stride, tail_start, end, PAGE_SIZE, TILE_TOKENS)
        k_offsets = token_offsets(page_ids, tail_start, k_strides, PAGE_SIZE, TILE_TOKENS)
        v_offsets = token_offsets(page_ids, tail_start, v_strides, PAGE_SIZE, TILE_TOKENS)
        k_scales = load_scales(k_scale_ptr, page_ids, kv_head, scale_strides, PAGE_SIZE, TILE_TOKENS)
        v_scales = load_scales(v_scale_ptr, page_ids, kv_head, scale_strides, PAGE_SIZE, TILE_TOKENS)
        token_mask = tail_start + tl.arange(0, TILE_TOKENS) < end
        keys = widen_e4m3(tl.load(k_ptrs + k_offsets, mask=token_mask[:, None], other=0.0), q.dtype, IS_NATIVE)
        values = widen_e4m3(tl.load(v_ptrs + v_offsets, mask=token_mask[:, None], other=0.0), q.dtype, IS_NATIVE)
        logits = tl.dot(q, tl.trans(keys), input_precision="ieee") * (row_scales * k_scales)
        logits = tl.where(token_mask[None, :], logits, float("-inf"))
        accumulator, weight_sums, running_max = fold_narrow_tile(
            accumulator, weight_sums, running_max, logits, values, v_scales / unit
        )
    weight_sum = tl.sum(weight_sums, axis=1)
    return accumulator * (unit / weight_sum)[:, None], running_max + tl.log2(weight_sum)
