"""Dense paged decode attention on GPUs: the block table read as one page list shared by all heads."""

from __future__ import annotations

import torch

from kinetics_kernels.gpu_runtime.paged_attention import PagedAttention, attend
from kinetics_kernels.shapes import PagedCache


def paged_decode(
    q: torch.Tensor,
    cache: PagedCache,
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
        cache=cache,
        page_table=cache.block_table[:, None].expand(-1, cache.num_kv_heads, -1),
        softmax_scale=softmax_scale,
        is_page_list=False,
    )
    attend(attention, num_splits=num_splits, out=out, lse=lse)
