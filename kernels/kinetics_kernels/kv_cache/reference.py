"""Append and page summaries in plain torch: a summary is always computed from the keys that lie in the page."""

from __future__ import annotations

import torch

from kinetics_kernels.kv_cache import e4m3
from kinetics_kernels.shapes import PagedCache, PageSummary, PageSummaryKind, num_pages_for


def summarize_keys(keys: torch.Tensor, *, kind: PageSummaryKind) -> torch.Tensor:
    """The summary of one page's keys, [num_tokens, num_kv_heads, head_dim], in their dtype.

    Returns [num_kv_heads, head_dim] for MEAN, [2, num_kv_heads, head_dim] (minimum, then maximum) for MIN_MAX.
    """
    if kind is PageSummaryKind.MEAN:
        return keys.mean(dim=0)
    return torch.stack((keys.amin(dim=0), keys.amax(dim=0)))


def append_kv(k: torch.Tensor, v: torch.Tensor, cache: PagedCache, *, page_summary: PageSummary | None) -> None:
    """Write each request's newest key and value at position seq_len - 1; then summarise the page it fell into."""
    page_size = cache.page_size
    for request, context_len in enumerate(cache.seq_lens.tolist()):
        logical_page, slot = divmod(context_len - 1, page_size)
        page = int(cache.block_table[request, logical_page])
        if cache.k_scale is None or cache.v_scale is None:
            cache.k_cache[page, slot] = k[request]
            cache.v_cache[page, slot] = v[request]
        else:
            e4m3.write_slot(cache.k_cache, cache.k_scale, page=page, slot=slot, vectors=k[request])
            e4m3.write_slot(cache.v_cache, cache.v_scale, page=page, slot=slot, vectors=v[request])
        if page_summary is not None:
            page_summary.values[page] = summarize_keys(_keys_of(cache, page, slot + 1), kind=page_summary.kind)


def summarize_pages(cache: PagedCache, *, page_summary: PageSummary) -> None:
    """Write the summary of every page the requests use; other pages keep theirs."""
    page_size = cache.page_size
    for request, context_len in enumerate(cache.seq_lens.tolist()):
        for logical_page in range(num_pages_for(context_len, page_size)):
            page = int(cache.block_table[request, logical_page])
            num_tokens = min(page_size, context_len - logical_page * page_size)
            page_summary.values[page] = summarize_keys(_keys_of(cache, page, num_tokens), kind=page_summary.kind)


def _keys_of(cache: PagedCache, page: int, num_tokens: int) -> torch.Tensor:
    """The first keys of a page, as they are, or widened where they are stored in 8 bits."""
    keys = cache.k_cache[page, :num_tokens]
    return keys if cache.k_scale is None else e4m3.widen(keys, cache.k_scale[page].expand(num_tokens, -1))
