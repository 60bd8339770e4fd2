"""Dense paged decode attention on the CPU, float32: every request is one list of pages for all its KV heads."""

from __future__ import annotations

import torch

from kinetics_kernels.cpu_runtime.page_attention_launch import attend_to_page_lists
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
    """Write softmax(q k^T) v over each request's pages to `out`, and the log-sum-exp to `lse`."""
    attend_to_page_lists(
        q,
        cache,
        cache.block_table[:, None],
        is_dense=True,
        softmax_scale=softmax_scale,
        num_splits=num_splits,
        out=out,
        lse=lse,
    )
