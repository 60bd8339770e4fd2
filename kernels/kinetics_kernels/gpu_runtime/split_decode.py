"""The jitted kernels of split-KV decode attention: one serves the dense and the sparse path, one merges the splits.

Grid (kv_head, split, request). With one split a program writes the answer, else a float32 partial and its base-2 LSE; a
split without tokens writes LSE -inf and exits, and the merge never reads its partial. `page_table` is
[batch, head, page]; the dense path passes head stride 0. Strides of `out` are (batch, head, dim, split).
"""

from __future__ import annotations

import triton
import triton.language as tl

from kinetics_kernels.gpu_runtime.narrow_attention import attend_to_narrow_tokens
from kinetics_kernels.gpu_runtime.online_softmax import LN_2, merge_weights
from kinetics_kernels.gpu_runtime.overlap import wait_for_previous
from kinetics_kernels.gpu_runtime.split_attention import (
    attend_to_tokens,
    count_listed_tokens,
    fair_share,
    load_query,
    row_offsets,
    tokens_per_split,
)


@triton.jit
def store_rows(ptr, offsets, split_offset, dim_stride, values, row_mask, HEAD_DIM: tl.constexpr):
    """Store [rows, HEAD_DIM] of one split in the dtype of the memory."""
    ptrs = ptr + (offsets + split_offset)[:, None] + tl.arange(0, HEAD_DIM)[None, :] * dim_stride
    tl.store(ptrs, values.to(ptr.dtype.element_ty), mask=row_mask[:, None])


@triton.jit(do_not_specialize=["batch", "table_width", "programs_per_head", "group_size"])
def split_decode_kernel(
    q_ptr,
    k_cache_ptr,
    v_cache_ptr,
    k_scale_ptr,
    v_scale_ptr,
    page_table_ptr,
    seq_lens_ptr,
    out_ptr,
    lse_ptr,
    q_strides,
    k_strides,
    v_strides,
    scale_strides,
    table_strides,
    seq_lens_stride,
    out_strides,
    lse_strides,
    scale_log2e,
    batch,
    table_width,
    programs_per_head,
    group_size,
    HEAD_DIM: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    TILE_TOKENS: tl.constexpr,
    QUERY_ROWS: tl.constexpr,
    MIN_SPLIT_TOKENS: tl.constexpr,
    COUNT_BLOCK: tl.constexpr,
    IS_PAGE_LIST: tl.constexpr,
    IS_BALANCED: tl.constexpr,
    IS_PARTIAL: tl.constexpr,
    IS_ONE_LAYOUT: tl.constexpr,
    IS_NATIVE: tl.constexpr,
    IS_OVERLAPPED: tl.constexpr,
):
    """Attention of one KV head's query group over one split of one request's tokens."""
    wait_for_previous(IS_OVERLAPPED)
    kv_head, split, request = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    list_ptr = page_table_ptr + request.to(tl.int64) * table_strides[0] + kv_head * table_strides[1]
    num_tokens = tl.load(seq_lens_ptr + request * seq_lens_stride)
    if IS_PAGE_LIST:
        num_tokens = count_listed_tokens(list_ptr, table_strides[2], table_width, num_tokens, PAGE_SIZE, COUNT_BLOCK)
    least_tokens = MIN_SPLIT_TOKENS
    if IS_BALANCED:
        fair_tokens = fair_share(seq_lens_ptr, seq_lens_stride, batch, programs_per_head, COUNT_BLOCK)
        least_tokens = tl.maximum(fair_tokens, MIN_SPLIT_TOKENS)
    split_tokens = tokens_per_split(num_tokens, least_tokens, TILE_TOKENS)
    start = split * split_tokens
    end = tl.minimum(start + split_tokens, num_tokens)

    rows = tl.arange(0, QUERY_ROWS)
    row_mask = rows < group_size
    q_heads = kv_head * group_size + rows
    if start >= end:
        if lse_ptr is not None:
            lse_offsets = row_offsets(request, q_heads, lse_strides) + split * lse_strides[2]
            tl.store(lse_ptr + lse_offsets, tl.full([QUERY_ROWS], float("-inf"), tl.float32), mask=row_mask)
        if not IS_PARTIAL:
            zeros = tl.zeros([QUERY_ROWS, HEAD_DIM], tl.float32)
            out_offsets = row_offsets(request, q_heads, out_strides)
            store_rows(out_ptr, out_offsets, 0, out_strides[2], zeros, row_mask, HEAD_DIM)
        return

    q = load_query(q_ptr, request, q_heads, row_mask, q_strides, HEAD_DIM)
    if k_scale_ptr is not None:
        attended, log2_sum = attend_to_narrow_tokens(
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
            table_strides[2],
            PAGE_SIZE,
            TILE_TOKENS,
            IS_NATIVE,
        )
    else:
        attended, log2_sum = attend_to_tokens(
            q,
            k_cache_ptr,
            v_cache_ptr,
            list_ptr,
            kv_head,
            start,
            end,
            scale_log2e,
            k_strides,
            v_strides,
            table_strides[2],
            PAGE_SIZE,
            TILE_TOKENS,
            IS_ONE_LAYOUT,
        )
    # Addresses are computed again rather than before the loop, where they would cost registers.
    out_offsets = row_offsets(request, q_heads, out_strides)
    store_rows(out_ptr, out_offsets, split * out_strides[3], out_strides[2], attended, row_mask, HEAD_DIM)
    if lse_ptr is not None:
        lse_offsets = row_offsets(request, q_heads, lse_strides) + split * lse_strides[2]
        tl.store(lse_ptr + lse_offsets, log2_sum if IS_PARTIAL else log2_sum * LN_2, mask=row_mask)


@triton.jit(do_not_specialize=["num_splits"])
def merge_splits_kernel(
    partial_out_ptr,
    partial_lse_ptr,
    out_ptr,
    lse_ptr,
    num_splits,
    out_strides,
    lse_strides,
    HEAD_DIM: tl.constexpr,
    BLOCK_SPLITS: tl.constexpr,
    IS_OVERLAPPED: tl.constexpr,
):
    """Merge the partials of one query head of one request; grid (num_q_heads, batch)."""
    wait_for_previous(IS_OVERLAPPED)
    head, request = tl.program_id(0), tl.program_id(1)
    row = request.to(tl.int64) * tl.num_programs(0) + head
    splits = tl.arange(0, BLOCK_SPLITS)
    dims = tl.arange(0, HEAD_DIM)
    split_mask = splits < num_splits
    log2_sums = tl.load(partial_lse_ptr + row * num_splits + splits, mask=split_mask, other=float("-inf"))
    weights, log2_sum = merge_weights(log2_sums)
    # A split that saw no token never wrote its partial. A NaN differs from -inf, so it is read and stays visible.
    partials = tl.load(
        partial_out_ptr + (row * num_splits + splits)[:, None] * HEAD_DIM + dims[None, :],
        mask=(split_mask & (log2_sums != float("-inf")))[:, None],
        other=0.0,
    )
    merged = tl.sum(partials * weights[:, None], axis=0)
    out_ptrs = out_ptr + request.to(tl.int64) * out_strides[0] + head * out_strides[1] + dims * out_strides[2]
    tl.store(out_ptrs, merged.to(out_ptr.dtype.element_ty))
    if lse_ptr is not None:
        tl.store(lse_ptr + request.to(tl.int64) * lse_strides[0] + head * lse_strides[1], log2_sum * LN_2)
