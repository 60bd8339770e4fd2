"""The public functions of the package: validate once, allocate the outputs, call one backend.

Shapes, dtypes and devices are always checked; values (lengths, page ids, NaN) only of tensors in host memory,
because reading them on CUDA would wait for the device: there, call `check_values` once before relying on a result. It
also refuses what keeps every bound and is wrong: pages twice, of other requests, or written to by two.
The arithmetic lives in `<operation>/<backend>.py`, imported on first use. A backend that cannot run raises.

Conventions: `shapes.PagedCache` says how a cache is laid out; q [batch, num_q_heads, head_dim]; softmax_scale None is
1 / sqrt(head_dim); num_splits 0 lets the backend choose; LSE is the natural logarithm, float32 [batch, num_q_heads].
"""

from __future__ import annotations

import torch

from kinetics_kernels.backends import load_backend, resolve_backend
from kinetics_kernels.dtypes import dtype_name
from kinetics_kernels.shapes import PagedCache, PageSelection, PageSummary, PageSummaryKind
from kinetics_kernels.validation.tensors import (
    check_cache,
    check_held_in,
    check_int32,
    check_like,
    check_num_splits,
    check_page_summary_fits,
    check_query,
    check_rank,
    check_shape,
)
from kinetics_kernels.validation.values import check_bounds, check_scores, check_values

__all__ = [
    "append_kv",
    "block_topk_decode",
    "block_topk_decode_with_lse",
    "check_values",
    "paged_decode",
    "paged_decode_with_lse",
    "score_pages",
    "select_pages",
    "sparse_paged_decode",
    "sparse_paged_decode_with_lse",
    "summarize_pages",
]


def paged_decode(
    q: torch.Tensor,
    cache: PagedCache,
    *,
    softmax_scale: float | None = None,
    num_splits: int = 0,
    out: torch.Tensor | None = None,
    backend: str = "auto",
) -> torch.Tensor:
    """Dense decode attention: softmax(q k^T * softmax_scale) v over every token each request has.

    Returns out [batch, num_q_heads, head_dim].
    Raises: ValueError if the tensors do not fit each other, the limits, or the backend.
    """
    attention = _Attention(q, cache, softmax_scale=softmax_scale, num_splits=num_splits, out=out, backend=backend)
    return attention.dense(lse=None)


def paged_decode_with_lse(
    q: torch.Tensor,
    cache: PagedCache,
    *,
    softmax_scale: float | None = None,
    num_splits: int = 0,
    out: torch.Tensor | None = None,
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]:
    """`paged_decode`, and the LSE over every token each request has."""
    attention = _Attention(q, cache, softmax_scale=softmax_scale, num_splits=num_splits, out=out, backend=backend)
    lse = attention.empty_lse()
    return attention.dense(lse=lse), lse


def append_kv(
    k: torch.Tensor,
    v: torch.Tensor,
    cache: PagedCache,
    *,
    page_summary: PageSummary | None = None,
    backend: str = "auto",
) -> None:
    """Write each request's newest key and value, [batch, num_kv_heads, head_dim], at position seq_len - 1.

    With a page summary, the row of the page written is recomputed from the keys now in that page, so that
    it always equals what `summarize_pages` would give. Two requests must not share the page they write to.

    Raises: ValueError if the tensors do not fit each other, the limits, or the backend.
    """
    check_rank(k, "k", "[batch, num_kv_heads, head_dim]")
    backend = resolve_backend(backend, k, is_narrow=cache.is_narrow)
    check_cache(cache, batch=k.shape[0])
    check_held_in(k, "k", cache)
    layout = "[batch, num_kv_heads, head_dim] of the cache"
    check_shape(k, "k", (k.shape[0], cache.num_kv_heads, cache.head_dim), layout)
    check_like(v, "v", k, "k")
    check_shape(v, "v", tuple(k.shape), "the shape of k")
    if page_summary is not None:
        check_page_summary_fits(page_summary, cache, like=k)
    if not k.is_cuda:
        check_bounds(cache)
    load_backend("kv_cache", backend).append_kv(k, v, cache, page_summary=page_summary)


def summarize_pages(
    cache: PagedCache,
    *,
    kind: PageSummaryKind,
    out: PageSummary | None = None,
    backend: str = "auto",
) -> PageSummary:
    """Summarise every page the requests use from the keys it holds, as after a prefill.

    Rows of other physical pages are left as they are in `out`; without it they are NaN, so that scoring a page nobody
    summarised is loud, and the dtype is that of the keys, of 8-bit keys bfloat16.

    Raises: ValueError if the tensors do not fit each other, the limits, or the backend.
    """
    check_cache(cache, batch=cache.block_table.shape[0])
    if out is None:
        extrema = (2,) if kind is PageSummaryKind.MIN_MAX else ()
        shape = (cache.num_physical_pages, *extrema, cache.num_kv_heads, cache.head_dim)
        dtype = torch.bfloat16 if cache.is_narrow else cache.k_cache.dtype
        values = torch.full(shape, float("nan"), dtype=dtype, device=cache.k_cache.device)
        out = PageSummary(kind=kind, values=values)
    elif out.kind is not kind:
        raise ValueError(f"out must be a summary of kind {kind.value}, got {out.kind.value}; make one of that kind")
    backend = resolve_backend(backend, out.values, is_narrow=cache.is_narrow)
    check_page_summary_fits(out, cache, like=out.values if cache.is_narrow else cache.k_cache)
    if not cache.k_cache.is_cuda:
        check_bounds(cache)
    load_backend("kv_cache", backend).summarize_pages(cache, page_summary=out)
    return out


def score_pages(
    q: torch.Tensor,
    cache: PagedCache,
    page_summary: PageSummary,
    *,
    backend: str = "auto",
) -> torch.Tensor:
    """Score each page of each request for each KV head: float32 [batch, num_kv_heads, max_pages].

    MEAN: the group's mean query times the page's mean key. MIN_MAX: the largest q.k the page's bounding box allows,
    averaged over the group. No softmax scale is applied. Entries past a request's last page are -inf. The cache tells
    which pages each request has; its keys are not read.

    Raises: ValueError if the tensors do not fit each other, the limits, or the backend.
    """
    backend = _check_decode(q, cache, backend=backend)
    check_page_summary_fits(page_summary, cache, like=q)
    if not q.is_cuda:
        check_bounds(cache, q=q)
    scores = _empty_scores(q, cache)
    load_backend("block_topk", backend).score_pages(q, cache, page_summary, scores=scores)
    return scores


def select_pages(
    scores: torch.Tensor,
    cache: PagedCache,
    *,
    selection: PageSelection,
    backend: str = "auto",
) -> torch.Tensor:
    """Keep the best-scored pages of each request and KV head: int32 [batch, num_kv_heads, num_pages].

    Physical ids in ascending logical order, the current page last, -1 in the tail. Sink, local and current pages
    are kept whatever their score; equal scores go to the lowest logical page. A request with no more than `num_pages`
    pages keeps them all. The cache tells which pages each request has; its keys are not read.

    Raises: ValueError if the tensors do not fit each other, the limits, or the backend.
    """
    check_rank(scores, "scores", "[batch, num_kv_heads, max_pages]")
    if scores.dtype != torch.float32:
        raise ValueError(f"scores must be float32, got {dtype_name(scores.dtype)}; take them from score_pages")
    backend = resolve_backend(backend, scores)
    check_cache(cache, batch=scores.shape[0], like=scores)
    layout = "one entry per KV head and page of the block table, [batch, num_kv_heads, max_pages]"
    check_shape(scores, "scores", (scores.shape[0], cache.num_kv_heads, cache.max_pages), layout)
    if not scores.is_cuda:
        check_bounds(cache, scores=scores)
    return _select(scores, cache, selection=selection, backend=backend)


def sparse_paged_decode(
    q: torch.Tensor,
    cache: PagedCache,
    page_indices: torch.Tensor,
    *,
    softmax_scale: float | None = None,
    num_splits: int = 0,
    out: torch.Tensor | None = None,
    backend: str = "auto",
) -> torch.Tensor:
    """Decode attention over the pages in page_indices, int32 [batch, num_kv_heads, num_pages], alone.

    Every page listed is full but the last, which must be the request's current page.

    Returns out [batch, num_q_heads, head_dim].
    Raises: ValueError if the tensors do not fit each other, the limits, or the backend.
    """
    attention = _Attention(q, cache, softmax_scale=softmax_scale, num_splits=num_splits, out=out, backend=backend)
    return attention.sparse(page_indices, lse=None)


def sparse_paged_decode_with_lse(
    q: torch.Tensor,
    cache: PagedCache,
    page_indices: torch.Tensor,
    *,
    softmax_scale: float | None = None,
    num_splits: int = 0,
    out: torch.Tensor | None = None,
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]:
    """`sparse_paged_decode`, and the LSE over the tokens of the pages listed."""
    attention = _Attention(q, cache, softmax_scale=softmax_scale, num_splits=num_splits, out=out, backend=backend)
    lse = attention.empty_lse()
    return attention.sparse(page_indices, lse=lse), lse


def block_topk_decode(
    q: torch.Tensor,
    cache: PagedCache,
    page_summary: PageSummary,
    *,
    selection: PageSelection,
    softmax_scale: float | None = None,
    num_splits: int = 0,
    out: torch.Tensor | None = None,
    backend: str = "auto",
) -> torch.Tensor:
    """The whole sparse path: score every page, select `selection`, attend to the pages selected.

    Returns out [batch, num_q_heads, head_dim].
    Raises: ValueError if the tensors do not fit each other, the limits, or the backend.
    """
    attention = _Attention(q, cache, softmax_scale=softmax_scale, num_splits=num_splits, out=out, backend=backend)
    return attention.block_topk(page_summary, selection=selection, lse=None)


def block_topk_decode_with_lse(
    q: torch.Tensor,
    cache: PagedCache,
    page_summary: PageSummary,
    *,
    selection: PageSelection,
    softmax_scale: float | None = None,
    num_splits: int = 0,
    out: torch.Tensor | None = None,
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]:
    """`block_topk_decode`, and the LSE over the tokens of the pages selected."""
    attention = _Attention(q, cache, softmax_scale=softmax_scale, num_splits=num_splits, out=out, backend=backend)
    lse = attention.empty_lse()
    return attention.block_topk(page_summary, selection=selection, lse=lse), lse


class _Attention:
    """What every attention call checks and fills in: a query that fits the cache, a scale, an output."""

    def __init__(
        self,
        q: torch.Tensor,
        cache: PagedCache,
        *,
        softmax_scale: float | None,
        num_splits: int,
        out: torch.Tensor | None,
        backend: str,
    ) -> None:
        self._backend = _check_decode(q, cache, backend=backend)
        check_num_splits(num_splits)
        if out is not None:
            check_shape(out, "out", tuple(q.shape), "the shape of q")
            check_like(out, "out", q, "q")
        self._q, self._cache, self._num_splits = q, cache, num_splits
        self._softmax_scale = float(q.shape[-1]) ** -0.5 if softmax_scale is None else float(softmax_scale)
        self._out = torch.empty(q.shape, dtype=q.dtype, device=q.device) if out is None else out

    def empty_lse(self) -> torch.Tensor:
        """Memory for an LSE."""
        return torch.empty(self._q.shape[:2], dtype=torch.float32, device=self._q.device)

    def dense(self, *, lse: torch.Tensor | None) -> torch.Tensor:
        """Attend to every token."""
        if not self._q.is_cuda:
            check_bounds(self._cache, q=self._q)
        load_backend("dense", self._backend).paged_decode(
            self._q,
            self._cache,
            softmax_scale=self._softmax_scale,
            num_splits=self._num_splits,
            out=self._out,
            lse=lse,
        )
        return self._out

    def sparse(self, page_indices: torch.Tensor, *, lse: torch.Tensor | None) -> torch.Tensor:
        """Attend to the pages of these lists."""
        check_rank(page_indices, "page_indices", "[batch, num_kv_heads, num_pages]")
        check_int32(page_indices, "page_indices", self._q)
        listed_shape = (self._q.shape[0], self._cache.num_kv_heads, page_indices.shape[2])
        check_shape(page_indices, "page_indices", listed_shape, "one list per request and KV head")
        if not self._q.is_cuda:
            check_bounds(self._cache, q=self._q, page_indices=page_indices)
        self._attend_to_lists(page_indices, lse=lse)
        return self._out

    def block_topk(
        self, page_summary: PageSummary, *, selection: PageSelection, lse: torch.Tensor | None
    ) -> torch.Tensor:
        """Score, select, attend."""
        q, cache = self._q, self._cache
        check_page_summary_fits(page_summary, cache, like=q)
        if not q.is_cuda:
            check_bounds(cache, q=q)
        scores = _empty_scores(q, cache)
        load_backend("block_topk", self._backend).score_pages(q, cache, page_summary, scores=scores)
        if not q.is_cuda:
            check_scores(scores, cache)
        self._attend_to_lists(_select(scores, cache, selection=selection, backend=self._backend), lse=lse)
        return self._out

    def _attend_to_lists(self, page_indices: torch.Tensor, *, lse: torch.Tensor | None) -> None:
        load_backend("block_topk", self._backend).sparse_paged_decode(
            self._q,
            self._cache,
            page_indices,
            softmax_scale=self._softmax_scale,
            num_splits=self._num_splits,
            out=self._out,
            lse=lse,
        )


def _check_decode(q: torch.Tensor, cache: PagedCache, *, backend: str) -> str:
    check_rank(q, "q", "[batch, num_q_heads, head_dim]")
    backend = resolve_backend(backend, q, is_narrow=cache.is_narrow)
    check_cache(cache, batch=q.shape[0])
    check_held_in(q, "q", cache)
    check_query(q, num_kv_heads=cache.num_kv_heads, head_dim=cache.head_dim)
    return backend


def _empty_scores(q: torch.Tensor, cache: PagedCache) -> torch.Tensor:
    return torch.empty((q.shape[0], cache.num_kv_heads, cache.max_pages), dtype=torch.float32, device=q.device)


def _select(scores: torch.Tensor, cache: PagedCache, *, selection: PageSelection, backend: str) -> torch.Tensor:
    shape = (*scores.shape[:2], selection.num_pages)
    page_indices = torch.empty(shape, dtype=torch.int32, device=scores.device)
    load_backend("block_topk", backend).select_pages(scores, cache, selection=selection, page_indices=page_indices)
    return page_indices
