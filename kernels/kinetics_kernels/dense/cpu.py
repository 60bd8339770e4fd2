"""Dense paged decode attention on the CPU, float32: every request is one list of pages for all its KV heads."""

from __future__ import annotations

import torch

from kinetics_kernels.cpu_runtime.page_attention_launch import attend_to_page_lists


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
    """Write softmax(q k^T) v over each request's pages to `out`, and the log-sum-exp to `lse`."""
    attend_to_page_lists(
        q,
        k_cache,
        v_cache,
        block_table[:, None],
        seq_lens,
        is_dense=True,
        softmax_scale=softmax_scale,
        num_splits=num_splits,
        out=out,
        lse=lse,
    )
