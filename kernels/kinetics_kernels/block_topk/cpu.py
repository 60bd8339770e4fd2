"""Block top-k decode on the CPU, float32: launches scoring, selection and attention over the pages selected."""

from __future__ import annotations

import torch

from kinetics_kernels.block_topk.cpu_selection import ScoreArguments, SelectArguments, score_items, select_items
from kinetics_kernels.cpu_runtime.layout import with_unit_stride
from kinetics_kernels.cpu_runtime.page_attention_launch import attend_to_page_lists
from kinetics_kernels.cpu_runtime.threads import arguments_of, run_on_threads
from kinetics_kernels.shapes import PagedCache, PageSelection, PageSummary, PageSummaryKind

SELECTION_PASSES = 4
"""How often, about, selection looks at each score."""
PAGES_PER_ITEM = 128
"""Pages a thread scores in one go: long enough to hide taking it, short enough to share a single request out."""


def score_pages(
    q: torch.Tensor,
    cache: PagedCache,
    page_summary: PageSummary,
    *,
    scores: torch.Tensor,
) -> None:
    """Write a score for every page of every request and KV head, -inf where the request has no page."""
    summary = with_unit_stride(page_summary.values)
    q, block_table, seq_lens = q.contiguous(), cache.block_table.contiguous(), cache.seq_lens.contiguous()
    has_extrema = page_summary.kind is PageSummaryKind.MIN_MAX
    arguments = arguments_of(
        ScoreArguments,
        q=q.data_ptr(),
        summary=summary.data_ptr(),
        block_table=block_table.data_ptr(),
        seq_lens=seq_lens.data_ptr(),
        scores=scores.data_ptr(),
        batch=q.shape[0],
        num_kv_heads=scores.shape[1],
        group_size=q.shape[1] // scores.shape[1],
        head_dim=q.shape[2],
        page_size=cache.page_size,
        table_width=block_table.shape[1],
        pages_per_item=PAGES_PER_ITEM,
        has_extrema=has_extrema,
        page_stride=summary.stride(0),
        part_stride=summary.stride(1) if has_extrema else 0,
        head_stride=summary.stride(-2),
    )
    run_on_threads(score_items, arguments, num_elements=block_table.numel() * summary[0].numel())


def select_pages(
    scores: torch.Tensor,
    cache: PagedCache,
    *,
    selection: PageSelection,
    page_indices: torch.Tensor,
) -> None:
    """Write the physical ids of the pages kept, in ascending logical order, -1 in the tail."""
    scores = scores.contiguous()
    block_table, seq_lens = cache.block_table.contiguous(), cache.seq_lens.contiguous()
    arguments = arguments_of(
        SelectArguments,
        scores=scores.data_ptr(),
        block_table=block_table.data_ptr(),
        seq_lens=seq_lens.data_ptr(),
        page_indices=page_indices.data_ptr(),
        batch=scores.shape[0],
        num_kv_heads=scores.shape[1],
        page_size=cache.page_size,
        table_width=scores.shape[2],
        list_width=page_indices.shape[2],
        num_sink_pages=selection.num_sink_pages,
        num_local_pages=selection.num_local_pages,
    )
    run_on_threads(select_items, arguments, num_elements=SELECTION_PASSES * scores.numel())


def sparse_paged_decode(
    q: torch.Tensor,
    cache: PagedCache,
    page_indices: torch.Tensor,
    *,
    softmax_scale: float,
    num_splits: int,
    out: torch.Tensor,
    lse: torch.Tensor | None,
) -> None:
    """Write attention over the pages listed to `out`; every page is full but the last one listed."""
    attend_to_page_lists(
        q,
        cache,
        page_indices,
        is_dense=False,
        softmax_scale=softmax_scale,
        num_splits=num_splits,
        out=out,
        lse=lse,
    )
