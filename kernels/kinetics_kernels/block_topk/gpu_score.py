"""Page scores on GPUs.

One program scores one tile of pages for one KV head; neighbouring heads run side by side, because their summaries
share memory lines. Both kinds are linear in a query averaged over its group: q . mean for MEAN; for MIN_MAX,
sum_d max(q_d * min_d, q_d * max_d) is max(q, 0) . max + min(q, 0) . min, so the group is averaged before a page is
read and a larger group costs nothing.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kinetics_kernels.gpu_runtime.configs import gpu_config, launch_variant
from kinetics_kernels.gpu_runtime.device import gpu_device_of
from kinetics_kernels.gpu_runtime.overlap import overlap_options, wait_for_previous
from kinetics_kernels.kv_cache.gpu import summary_strides
from kinetics_kernels.shapes import MAX_GROUP_SIZE, PagedCache, PageSummary, PageSummaryKind


@triton.jit(do_not_specialize=["max_pages", "group_size"])
def score_kernel(
    q_ptr,
    summary_ptr,
    block_table_ptr,
    seq_lens_ptr,
    scores_ptr,
    q_strides,
    summary_strides,
    table_strides,
    seq_lens_stride,
    scores_strides,
    max_pages,
    group_size,
    HEAD_DIM: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    IS_MIN_MAX: tl.constexpr,
    TILE_PAGES: tl.constexpr,
    QUERY_ROWS: tl.constexpr,
    IS_OVERLAPPED: tl.constexpr,
):
    """Score one tile of pages; grid (kv_head, tile, request)."""
    wait_for_previous(IS_OVERLAPPED)
    head, request = tl.program_id(0).to(tl.int64), tl.program_id(2).to(tl.int64)
    pages = tl.program_id(1) * TILE_PAGES + tl.arange(0, TILE_PAGES)
    num_pages = tl.cdiv(tl.load(seq_lens_ptr + request * seq_lens_stride), PAGE_SIZE)
    scores_ptr += request * scores_strides[0] + head * scores_strides[1]
    scores = tl.full([TILE_PAGES], float("-inf"), tl.float32)
    if tl.program_id(1) * TILE_PAGES < num_pages:
        has_page = pages < num_pages
        table_ptrs = block_table_ptr + request * table_strides[0] + pages * table_strides[1]
        page_ids = tl.load(table_ptrs, mask=has_page, other=0)
        rows = tl.arange(0, QUERY_ROWS)
        dims = tl.arange(0, HEAD_DIM)
        q_ptrs = q_ptr + request * q_strides[0] + dims[None, :] * q_strides[2]
        q_ptrs += (head * group_size + rows)[:, None] * q_strides[1]
        group = tl.load(q_ptrs, mask=(rows < group_size)[:, None], other=0.0).to(tl.float32)
        summary_ptrs = summary_ptr + head * summary_strides[2] + dims[None, :] * summary_strides[3]
        summary_ptrs += page_ids.to(tl.int64)[:, None] * summary_strides[0]
        low = tl.load(summary_ptrs, mask=has_page[:, None], other=0.0).to(tl.float32)
        if IS_MIN_MAX:
            high = tl.load(summary_ptrs + summary_strides[1], mask=has_page[:, None], other=0.0).to(tl.float32)
            positive = tl.sum(tl.maximum(group, 0.0), axis=0) / group_size
            negative = tl.sum(tl.minimum(group, 0.0), axis=0) / group_size
            products = positive[None, :] * high + negative[None, :] * low
        else:
            products = (tl.sum(group, axis=0) / group_size)[None, :] * low
        scores = tl.where(has_page, tl.sum(products, axis=1), float("-inf"))
    tl.store(scores_ptr + pages * scores_strides[2], scores, mask=pages < max_pages)


def score_pages(
    q: torch.Tensor,
    cache: PagedCache,
    page_summary: PageSummary,
    *,
    scores: torch.Tensor,
) -> None:
    """Write a score for every page of every request and KV head, -inf where the request has no page."""
    batch, num_kv_heads, max_pages = scores.shape
    num_q_heads, head_dim = q.shape[1:]
    arch = gpu_device_of(q).arch
    config, is_overlapped = gpu_config(arch), launch_variant(arch).is_overlapped
    score_kernel[(num_kv_heads, triton.cdiv(max_pages, config.score_tile_pages), batch)](
        q,
        page_summary.values,
        cache.block_table,
        cache.seq_lens,
        scores,
        q.stride(),
        summary_strides(page_summary),
        cache.block_table.stride(),
        cache.seq_lens.stride(0),
        scores.stride(),
        max_pages,
        num_q_heads // num_kv_heads,
        HEAD_DIM=head_dim,
        PAGE_SIZE=cache.page_size,
        IS_MIN_MAX=page_summary.kind is PageSummaryKind.MIN_MAX,
        TILE_PAGES=config.score_tile_pages,
        QUERY_ROWS=MAX_GROUP_SIZE,
        IS_OVERLAPPED=is_overlapped,
        num_warps=config.score_num_warps,
        **overlap_options(is_overlapped=is_overlapped),
    )
