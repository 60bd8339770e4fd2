"""Block top-k decode on GPUs: scores, selection, attention over the pages selected; each one launch of its own."""

from __future__ import annotations

import torch

from kinetics_kernels.block_topk.gpu_score import score_pages
from kinetics_kernels.block_topk.gpu_select import select_pages
from kinetics_kernels.gpu_runtime.paged_attention import PagedAttention, attend
from kinetics_kernels.shapes import PagedCache

__all__ = ["score_pages", "select_pages", "sparse_paged_decode"]


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
    """Write attention over the pages listed to `out`; every page is full but the last one listed.

    Raises: ValueError if num_splits is more than the merge holds.
    """
    attention = PagedAttention(
        q=q,
        cache=cache,
        page_table=page_indices,
        softmax_scale=softmax_scale,
        is_page_list=True,
    )
    attend(attention, num_splits=num_splits, out=out, lse=lse)
