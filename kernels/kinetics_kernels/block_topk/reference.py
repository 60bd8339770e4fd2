"""Block top-k decode in plain torch: page scores, page selection, attention over the pages selected.

Scores and attention are computed in the dtype of the query, so a float64 query makes this the oracle. Selection
only compares scores: the same scores give the same pages in every backend.
"""

from __future__ import annotations

import torch

from kinetics_kernels.dense.reference import attend_to_pages
from kinetics_kernels.shapes import PagedCache, PageSelection, PageSummary, PageSummaryKind, num_pages_for


def score_group(q: torch.Tensor, summaries: torch.Tensor, *, kind: PageSummaryKind) -> torch.Tensor:
    """One score per page for one group of query heads.

    q: [group_size, head_dim]; summaries: [pages, head_dim] for MEAN, [pages, 2, head_dim] for MIN_MAX.
    MEAN is q.k averaged over group and page; MIN_MAX is the largest q.k the page's bounding box allows, averaged
    over the group.
    """
    summaries = summaries.to(q.dtype)
    if kind is PageSummaryKind.MEAN:
        return summaries @ q.mean(dim=0)
    minimum, maximum = summaries[:, None, 0], summaries[:, None, 1]
    return torch.maximum(q * minimum, q * maximum).sum(dim=-1).mean(dim=-1)


def score_pages(
    q: torch.Tensor,
    cache: PagedCache,
    page_summary: PageSummary,
    *,
    scores: torch.Tensor,
) -> None:
    """Write a score for every page of every request and KV head, -inf where the request has no page."""
    num_kv_heads = scores.shape[1]
    group_size = q.shape[1] // num_kv_heads
    scores.fill_(float("-inf"))
    for request, context_len in enumerate(cache.seq_lens.tolist()):
        num_pages = num_pages_for(context_len, cache.page_size)
        summaries = page_summary.values[cache.block_table[request, :num_pages].long()]
        for kv_head in range(num_kv_heads):
            group = q[request, kv_head * group_size : (kv_head + 1) * group_size]
            page_scores = score_group(group, summaries[..., kv_head, :], kind=page_summary.kind)
            scores[request, kv_head, :num_pages] = page_scores.to(scores.dtype)


def select_logical_pages(scores: torch.Tensor, selection: PageSelection) -> torch.Tensor:
    """The logical pages one request keeps for one KV head, ascending, from the scores of the pages it has."""
    logical_page = torch.arange(scores.shape[0], device=scores.device)
    first_local_page = scores.shape[0] - 1 - selection.num_local_pages
    is_forced = (logical_page < selection.num_sink_pages) | (logical_page >= first_local_page)
    forced, candidates = logical_page[is_forced], logical_page[~is_forced]
    # A stable sort keeps equal scores in ascending logical order: ties go to the lowest page.
    best_first = torch.sort(scores[candidates], descending=True, stable=True).indices
    chosen = candidates[best_first[: selection.num_pages - len(forced)]]
    return torch.cat((forced, chosen)).sort().values


def select_pages(
    scores: torch.Tensor,
    cache: PagedCache,
    *,
    selection: PageSelection,
    page_indices: torch.Tensor,
) -> None:
    """Write the physical ids of the pages kept, in ascending logical order, -1 in the tail."""
    page_indices.fill_(-1)
    for request, context_len in enumerate(cache.seq_lens.tolist()):
        num_present = num_pages_for(context_len, cache.page_size)
        for kv_head in range(scores.shape[1]):
            kept = select_logical_pages(scores[request, kv_head, :num_present], selection)
            page_indices[request, kv_head, : len(kept)] = cache.block_table[request, kept]


def sparse_paged_decode(
    q: torch.Tensor,
    cache: PagedCache,
    page_indices: torch.Tensor,
    *,
    softmax_scale: float,
    num_splits: int,  # noqa: ARG001 -- part of the backend contract; one softmax needs no split
    out: torch.Tensor,
    lse: torch.Tensor | None,
) -> None:
    """Write attention over the pages listed to `out`; every page is full but the last one listed."""
    page_size, group_size = cache.page_size, q.shape[1] // cache.num_kv_heads
    for request, context_len in enumerate(cache.seq_lens.tolist()):
        for kv_head in range(cache.num_kv_heads):
            heads = slice(kv_head * group_size, (kv_head + 1) * group_size)
            listed = page_indices[request, kv_head]
            page_ids = listed[listed >= 0]
            num_tokens = (len(page_ids) - 1) * page_size + (context_len - 1) % page_size + 1
            attended, log_sum_exp = attend_to_pages(
                q[request, heads],
                cache,
                page_ids,
                kv_head=kv_head,
                num_tokens=num_tokens,
                softmax_scale=softmax_scale,
            )
            out[request, heads] = attended.to(out.dtype)
            if lse is not None:
                lse[request, heads] = log_sum_exp.to(lse.dtype)
