"""Dense paged decode attention in plain torch: one softmax per request and KV head, in the dtype of the query.

A float64 query makes this the oracle, a bfloat16 query the low-precision yardstick; keys and values are converted
after they are gathered, so no second cache is ever needed. Obvious beats fast here.
"""

from __future__ import annotations

import torch

from kinetics_kernels.kv_cache import e4m3
from kinetics_kernels.shapes import PagedCache, num_pages_for


def attend(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *, softmax_scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention of one group of query heads over one KV head, with its natural-log LSE.

    q: [group_size, head_dim], keys and values: [num_tokens, head_dim].
    """
    logits = (q @ keys.to(q.dtype).T) * softmax_scale
    return torch.softmax(logits, dim=-1) @ values.to(q.dtype), torch.logsumexp(logits, dim=-1)


def attend_to_pages(
    q: torch.Tensor,
    cache: PagedCache,
    page_ids: torch.Tensor,
    *,
    kv_head: int,
    num_tokens: int,
    softmax_scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`attend` to the first `num_tokens` tokens of one KV head that lie in these pages, in the order given."""
    keys, values = cache.k_cache[page_ids.long(), :, kv_head], cache.v_cache[page_ids.long(), :, kv_head]
    if cache.k_scale is not None and cache.v_scale is not None:
        keys = e4m3.widen(keys, cache.k_scale[page_ids.long(), kv_head, None].expand(-1, cache.page_size))
        values = e4m3.widen(values, cache.v_scale[page_ids.long(), kv_head, None].expand(-1, cache.page_size))
    keys, values = keys.flatten(0, 1)[:num_tokens], values.flatten(0, 1)[:num_tokens]
    return attend(q, keys, values, softmax_scale=softmax_scale)


def paged_decode(
    q: torch.Tensor,
    cache: PagedCache,
    *,
    softmax_scale: float,
    num_splits: int,  # noqa: ARG001 -- part of the backend contract; one softmax needs no split
    out: torch.Tensor,
    lse: torch.Tensor | None,
) -> None:
    """Write softmax(q k^T) v over each request's pages to `out`, and the log-sum-exp to `lse`."""
    group_size = q.shape[1] // cache.num_kv_heads
    for request, context_len in enumerate(cache.seq_lens.tolist()):
        page_ids = cache.block_table[request, : num_pages_for(context_len, cache.page_size)]
        for kv_head in range(cache.num_kv_heads):
            heads = slice(kv_head * group_size, (kv_head + 1) * group_size)
            attended, log_sum_exp = attend_to_pages(
                q[request, heads],
                cache,
                page_ids,
                kv_head=kv_head,
                num_tokens=context_len,
                softmax_scale=softmax_scale,
            )
            out[request, heads] = attended.to(out.dtype)
            if lse is not None:
                lse[request, heads] = log_sum_exp.to(lse.dtype)
