"""Block top-k decode on GPUs: scores, selection, attention over the pages selected; each one launch of its own."""

from __future__ import annotations

import torch

from kinetics_kernels.block_topk.gpu_score import score_pages
from kinetics_kernels.block_topk.gpu_select import select_pages
from kinetics_kernels.gpu_runtime.paged_attention import PagedAttention, attend

__all__ = ["score_pages", "select_pages", "sparse_paged_decode"]


def sparse_paged_decode(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    page_indices: torch.Tensor,
    seq_lens: torch.Tensor,
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
        k_cache=k_cache,
        v_cache=v_cache,
        page_table=page_indices,
        seq_lens=seq_lens,
        softmax_scale=softmax_scale,
        is_page_list=True,
    )
    attend(attention, num_splits=num_splits, out=out, lse=lse)
