"""Split-KV decode attention in one launch: the last program of a query group to finish merges its splits.

Grid (kv_head, split, request) as in `split_decode`. Programs with tokens write a float32 partial and its base-2 LSE and
count themselves; the one that finds all others counted merges, and sets the counter back to zero, so that a captured
graph can be replayed. Programs without tokens exit at once and are not waited for. Layouts: partials are contiguous,
[batch, num_kv_heads, splits, group_size, head_dim].
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
def is_last_to_finish(finished_ptr, num_programs):
    """Whether all others of `num_programs` have counted themselves already; then the counter is back at zero."""
    # All threads have written their partials before one of them counts: who sees the count sees the partials.
    tl.debug_barrier()
    is_last = tl.atomic_add(finished_ptr, 1, sem="acq_rel", scope="gpu") == num_programs - 1
    if is_last:
        tl.store(finished_ptr, 0)
    return is_last


@triton.jit
def merge_head(
    partial_out_ptr,
    partial_lse_ptr,
    num_splits,
    split_rows,
    HEAD_DIM: tl.constexpr,
    BLOCK_SPLITS: tl.constexpr,
):
    """One query head's splits, `split_rows` rows apart, merged: its values [HEAD_DIM] and its base-2 LSE."""
    splits = tl.arange(0, BLOCK_SPLITS)
    split_mask = splits < num_splits
    # .cg: other multiprocessors wrote these, so they are read where all of them meet.
    log2_sums = tl.load(
        partial_lse_ptr + splits * split_rows, mask=split_mask, other=float("-inf"), cache_modifier=".cg"
    )
    weights, log2_sum = merge_weights(log2_sums)
    partials = tl.load(
        partial_out_ptr + (splits * split_rows * HEAD_DIM)[:, None] + tl.arange(0, HEAD_DIM)[None, :],
        mask=split_mask[:, None],
        other=0.0,
        cache_modifier=".cg",
    )
    return tl.sum(partials * weights[:, None], axis=0), log2_sum


@triton.jit(do_not_specialize=["batch", "table_width", "programs_per_head", "group_size"])
def merged_decode_kernel(
    q_ptr,
    k_cache_ptr,
    v_cache_ptr,
    k_scale_ptr,
    v_scale_ptr,
    page_table_ptr,
    seq_lens_ptr,
    out_ptr,
    lse_ptr,
    partial_out_ptr,
    partial_lse_ptr,
    finished_ptr,
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
    BLOCK_SPLITS: tl.constexpr,
    IS_PAGE_LIST: tl.constexpr,
    IS_BALANCED: tl.constexpr,
    IS_ONE_LAYOUT: tl.constexpr,
    IS_NATIVE: tl.constexpr,
    IS_OVERLAPPED: tl.constexpr,
):
    """Attention of one KV head's query group over one split of one request's tokens, and the merge by the last."""
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
    dims = tl.arange(0, HEAD_DIM)
    row_mask = rows < group_size
    q_heads = kv_head * group_size + rows
    if start >= end:
        if num_tokens == 0 and split == 0:
            out_ptrs = out_ptr + row_offsets(request, q_heads, out_strides)[:, None] + dims[None, :] * out_strides[2]
            tl.store(out_ptrs, tl.zeros([QUERY_ROWS, HEAD_DIM], out_ptr.dtype.element_ty), mask=row_mask[:, None])
            if lse_ptr is not None:
                lse_ptrs = lse_ptr + row_offsets(request, q_heads, lse_strides)
                tl.store(lse_ptrs, tl.full([QUERY_ROWS], float("-inf"), tl.float32), mask=row_mask)
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
    group = request.to(tl.int64) * tl.num_programs(0) + kv_head
    first_row = group * tl.num_programs(1) * group_size
    partial_rows = first_row + split * group_size + rows
    tl.store(partial_out_ptr + partial_rows[:, None] * HEAD_DIM + dims[None, :], attended, mask=row_mask[:, None])
    tl.store(partial_lse_ptr + partial_rows, log2_sum, mask=row_mask)
    num_used = tl.cdiv(num_tokens, split_tokens)
    if is_last_to_finish(finished_ptr + group, num_used):
        for row in range(group_size):
            merged, merged_log2_sum = merge_head(
                partial_out_ptr + (first_row + row) * HEAD_DIM,
                partial_lse_ptr + first_row + row,
                num_used,
                group_size,
                HEAD_DIM,
                BLOCK_SPLITS,
            )
            head = kv_head * group_size + row
            out_ptrs = out_ptr + request.to(tl.int64) * out_strides[0] + head * out_strides[1] + dims * out_strides[2]
            tl.store(out_ptrs, merged.to(out_ptr.dtype.element_ty))
            if lse_ptr is not None:
                lse_offset = request.to(tl.int64) * lse_strides[0] + head * lse_strides[1]
                tl.store(lse_ptr + lse_offset, merged_log2_sum * LN_2)
