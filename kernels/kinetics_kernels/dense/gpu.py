"""Dense paged decode attention on GPUs: the block table read as one page list shared by all heads."""

from __future__ import annotations

import torch

from kinetics_kernels.gpu_runtime.paged_attention import PagedAttention, attend


def paged_decode(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    *,
    softmax_scale: float,
    num_splits: int,
    out: torch.Tensor,
    lse: torch.Tensor | None,
) -> None:
    """Write softmax(q k^T) v over each request's pages to `out`, and the natural-log LSE to `lse`.

    Raises: ValueError if num_splits is more than the merge holds.
    """
    attention = PagedAttention(
        q=q,
        k_cache=k_cache,
        v_cache=v_cache,
        page_table=block_table[:, None].expand(-1, k_cache.shape[2], -1),
        seq_lens=seq_lens,
        softmax_scale=softmax_scale,
        is_page_list=False,
    )
    attend(attention, num_splits=num_splits, out=out, lse=lse)
