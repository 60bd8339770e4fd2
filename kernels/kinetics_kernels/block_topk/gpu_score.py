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

from kinetics_kernels.gpu_runtime.configs import gpu_config
from kinetics_kernels.gpu_runtime.device import gpu_device_of
from kinetics_kernels.kv_cache.gpu import summary_strides
from kinetics_kernels.shapes import PagedCache, PageSummary, PageSummaryKind


@triton.jit(do_not_specialize=["max_pages"])
def score_kernel(
    q_ptr,
    summary_ptr,
    block_table_ptr,
    seq_lens_ptr,
    scores_ptr,
    q_stride_batch,
    q_stride_head,
    q_stride_dim,
    summary_stride_page,
    summary_stride_extremum,
    summary_stride_head,
    summary_stride_dim,
    table_stride_batch,
    table_stride_page,
    seq_lens_stride,
    scores_stride_batch,
    scores_stride_head,
    scores_stride_page,
    max_pages,
    GROUP_SIZE: tl.constexpr,
    BLOCK_GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    IS_MIN_MAX: tl.constexpr,
    TILE_PAGES: tl.constexpr,
):
    """Score one tile of pages; grid (kv_head, tile, request)."""
    head, request = tl.program_id(0).to(tl.int64), tl.program_id(2).to(tl.int64)
    pages = tl.program_id(1) * TILE_PAGES + tl.arange(0, TILE_PAGES)
    num_pages = tl.cdiv(tl.load(seq_lens_ptr + request * seq_lens_stride), PAGE_SIZE)
    scores_ptr += request * scores_stride_batch + head * scores_stride_head
    scores = tl.full([TILE_PAGES], float("-inf"), tl.float32)
    if tl.program_id(1) * TILE_PAGES < num_pages:
        has_page = pages < num_pages
        page_ids = tl.load(
            block_table_ptr + request * table_stride_batch + pages * table_stride_page, mask=has_page, other=0
        )
        rows = tl.arange(0, BLOCK_GROUP)
        dims = tl.arange(0, HEAD_DIM)
        q_ptrs = q_ptr + request * q_stride_batch + dims[None, :] * q_stride_dim
        q_ptrs += (head * GROUP_SIZE + rows)[:, None] * q_stride_head
        group = tl.load(q_ptrs, mask=(rows < GROUP_SIZE)[:, None], other=0.0).to(tl.float32)
        summary_ptrs = summary_ptr + head * summary_stride_head + dims[None, :] * summary_stride_dim
        summary_ptrs += page_ids.to(tl.int64)[:, None] * summary_stride_page
        low = tl.load(summary_ptrs, mask=has_page[:, None], other=0.0).to(tl.float32)
        if IS_MIN_MAX:
            high = tl.load(summary_ptrs + summary_stride_extremum, mask=has_page[:, None], other=0.0).to(tl.float32)
            positive = tl.sum(tl.maximum(group, 0.0), axis=0) / GROUP_SIZE
            negative = tl.sum(tl.minimum(group, 0.0), axis=0) / GROUP_SIZE
            products = positive[None, :] * high + negative[None, :] * low
        else:
            products = (tl.sum(group, axis=0) / GROUP_SIZE)[None, :] * low
        scores = tl.where(has_page, tl.sum(products, axis=1), float("-inf"))
    tl.store(scores_ptr + pages * scores_stride_page, scores, mask=pages < max_pages)


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
    config = gpu_config(gpu_device_of(q).arch)
    score_kernel[(num_kv_heads, triton.cdiv(max_pages, config.score_tile_pages), batch)](
        q,
        page_summary.values,
        cache.block_table,
        cache.seq_lens,
        scores,
        *q.stride(),
        *summary_strides(page_summary),
        *cache.block_table.stride(),
        *cache.seq_lens.stride(),
        *scores.stride(),
        max_pages,
        GROUP_SIZE=num_q_heads // num_kv_heads,
        BLOCK_GROUP=triton.next_power_of_2(num_q_heads // num_kv_heads),
        HEAD_DIM=head_dim,
        PAGE_SIZE=cache.page_size,
        IS_MIN_MAX=page_summary.kind is PageSummaryKind.MIN_MAX,
        TILE_PAGES=config.score_tile_pages,
        num_warps=config.score_num_warps,
    )
