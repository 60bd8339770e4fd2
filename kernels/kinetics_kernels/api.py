"""The public functions of the package: validate once, allocate the outputs, call one backend.

Shapes, dtypes and devices are always checked; values (lengths, page ids, NaN) only of tensors in host memory,
because reading them on CUDA would wait for the device: there, call `check_values` once before relying on a result.
The arithmetic lives in `<operation>/<backend>.py`, imported on first use. A backend that cannot run raises.

Conventions: q [batch, num_q_heads, head_dim]; caches [num_physical_pages, page_size, num_kv_heads, head_dim] with any
strides; block_table int32 [batch, max_pages] of physical page ids; seq_lens int32 [batch], counting the token being
decoded; softmax_scale None means 1 / sqrt(head_dim); num_splits 0 lets the backend choose; LSE is the natural
logarithm, float32 [batch, num_q_heads].
"""

from __future__ import annotations

from typing import Literal, overload

import torch

from kinetics_kernels.backends import load_backend, resolve_backend
from kinetics_kernels.shapes import PageSelection, PageSummary, PageSummaryKind
from kinetics_kernels.validation.tensors import (
    check_cache,
    check_int32,
    check_like,
    check_num_splits,
    check_page_size,
    check_page_summary,
    check_page_summary_fits,
    check_query,
    check_rank,
    check_shape,
    check_table,
    dtype_name,
)
from kinetics_kernels.validation.values import check_scores, check_values

__all__ = [
    "append_kv",
    "block_topk_decode",
    "check_values",
    "paged_decode",
    "score_pages",
    "select_pages",
    "sparse_paged_decode",
    "summarize_pages",
]

DecodeResult = torch.Tensor | tuple[torch.Tensor, torch.Tensor]


@overload
def paged_decode(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    *,
    softmax_scale: float | None = None,
    num_splits: int = 0,
    out: torch.Tensor | None = None,
    return_lse: Literal[False] = False,
    backend: str = "auto",
) -> torch.Tensor: ...
@overload
def paged_decode(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    *,
    softmax_scale: float | None = None,
    num_splits: int = 0,
    out: torch.Tensor | None = None,
    return_lse: Literal[True],
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]: ...
def paged_decode(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    *,
    softmax_scale: float | None = None,
    num_splits: int = 0,
    out: torch.Tensor | None = None,
    return_lse: bool = False,
    backend: str = "auto",
) -> DecodeResult:
    """Dense decode attention: softmax(q k^T * softmax_scale) v over every token each request has.

    Returns out [batch, num_q_heads, head_dim], with `return_lse` also the LSE.
    Raises: ValueError if the tensors do not fit each other, the limits, or the backend.
    """
    backend = _check_decode(q, k_cache, v_cache, block_table, seq_lens, num_splits=num_splits, backend=backend)
    if not q.is_cuda:
        check_values(block_table, seq_lens, page_size=k_cache.shape[1], num_physical_pages=k_cache.shape[0], q=q)
    out, lse = _outputs(q, out, return_lse=return_lse)
    load_backend("dense", backend).paged_decode(
        q,
        k_cache,
        v_cache,
        block_table,
        seq_lens,
        softmax_scale=_scale(softmax_scale, q),
        num_splits=num_splits,
        out=out,
        lse=lse,
    )
    return out if lse is None else (out, lse)


def append_kv(
    k: torch.Tensor,
    v: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    *,
    page_summary: PageSummary | None = None,
    backend: str = "auto",
) -> None:
    """Write each request's newest key and value, [batch, num_kv_heads, head_dim], at position seq_len - 1.

    With a page summary, the row of the page written is recomputed from the keys now in that page, so that
    it always equals what `summarize_pages` would give. Two requests must not share the page they write to.

    Raises: ValueError if the tensors do not fit each other, the limits, or the backend.
    """
    backend = resolve_backend(backend, k_cache)
    check_cache(k_cache, v_cache)
    check_rank(k, "k", "[batch, num_kv_heads, head_dim]")
    check_like(k, "k", k_cache, "k_cache")
    check_shape(k, "k", (k.shape[0], *k_cache.shape[2:]), "[batch, num_kv_heads, head_dim] of the cache")
    check_like(v, "v", k_cache, "k_cache")
    check_shape(v, "v", tuple(k.shape), "the shape of k")
    check_table(block_table, seq_lens, batch=k.shape[0], like=k_cache)
    if page_summary is not None:
        check_page_summary_fits(page_summary, k_cache)
    if not k.is_cuda:
        check_values(block_table, seq_lens, page_size=k_cache.shape[1], num_physical_pages=k_cache.shape[0])
    load_backend("kv_cache", backend).append_kv(
        k, v, k_cache, v_cache, block_table, seq_lens, page_summary=page_summary
    )


def summarize_pages(
    k_cache: torch.Tensor,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    *,
    kind: PageSummaryKind,
    backend: str = "auto",
) -> PageSummary:
    """Summarise every page the requests use from the keys it holds, as after a prefill.

    Rows of other physical pages are NaN, so that scoring a page nobody summarised is loud.

    Raises: ValueError if the tensors do not fit each other, the limits, or the backend.
    """
    backend = resolve_backend(backend, k_cache)
    check_cache(k_cache)
    check_table(block_table, seq_lens, batch=block_table.shape[0], like=k_cache)
    num_physical_pages, page_size, *heads_and_dim = k_cache.shape
    if not k_cache.is_cuda:
        check_values(block_table, seq_lens, page_size=page_size, num_physical_pages=num_physical_pages)
    extrema = (2,) if kind is PageSummaryKind.MIN_MAX else ()
    values = k_cache.new_full((num_physical_pages, *extrema, *heads_and_dim), float("nan"))
    page_summary = PageSummary(kind=kind, values=values)
    load_backend("kv_cache", backend).summarize_pages(k_cache, block_table, seq_lens, page_summary=page_summary)
    return page_summary


def score_pages(
    q: torch.Tensor,
    page_summary: PageSummary,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    *,
    page_size: int,
    backend: str = "auto",
) -> torch.Tensor:
    """Score each page of each request for each KV head: float32 [batch, num_kv_heads, max_pages].

    MEAN: the group's mean query times the page's mean key. MIN_MAX: the largest q.k the page's bounding box allows,
    averaged over the group. No softmax scale is applied. Entries past a request's last page are -inf.

    Raises: ValueError if the tensors do not fit each other, the limits, or the backend.
    """
    backend = resolve_backend(backend, q)
    num_kv_heads, head_dim = check_page_summary(page_summary, like=q)
    check_query(q, num_kv_heads=num_kv_heads, head_dim=head_dim)
    check_table(block_table, seq_lens, batch=q.shape[0], like=q)
    check_page_size(page_size)
    if not q.is_cuda:
        num_physical_pages = page_summary.values.shape[0]
        check_values(block_table, seq_lens, page_size=page_size, num_physical_pages=num_physical_pages, q=q)
    scores = torch.empty((q.shape[0], num_kv_heads, block_table.shape[1]), dtype=torch.float32, device=q.device)
    load_backend("block_topk", backend).score_pages(
        q, page_summary, block_table, seq_lens, page_size=page_size, scores=scores
    )
    return scores


def select_pages(
    scores: torch.Tensor,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    *,
    page_size: int,
    num_pages: int,
    num_sink_pages: int,
    num_local_pages: int,
    backend: str = "auto",
) -> torch.Tensor:
    """Keep the best-scored pages of each request and KV head: int32 [batch, num_kv_heads, num_pages].

    Physical ids in ascending logical order, the current page last, -1 in the tail. The first `num_sink_pages`, the
    `num_local_pages` before the current page and the current page are kept whatever their score; equal scores
    go to the lowest logical page. A request with no more than `num_pages` pages keeps them all.

    Raises: ValueError if the tensors do not fit each other, the limits, or the backend.
    """
    selection = PageSelection(num_pages=num_pages, num_sink_pages=num_sink_pages, num_local_pages=num_local_pages)
    check_rank(scores, "scores", "[batch, num_kv_heads, max_pages]")
    if scores.dtype != torch.float32:
        raise ValueError(f"scores must be float32, got {dtype_name(scores.dtype)}; take them from score_pages")
    backend = resolve_backend(backend, scores)
    check_table(block_table, seq_lens, batch=scores.shape[0], like=scores)
    table_shape = (scores.shape[0], scores.shape[2])
    check_shape(block_table, "block_table", table_shape, "one entry per scored page, [batch, max_pages]")
    check_page_size(page_size)
    if not scores.is_cuda:
        check_values(block_table, seq_lens, page_size=page_size, scores=scores)
    return _select(scores, block_table, seq_lens, page_size=page_size, selection=selection, backend=backend)


@overload
def sparse_paged_decode(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    page_indices: torch.Tensor,
    seq_lens: torch.Tensor,
    block_table: torch.Tensor,
    *,
    softmax_scale: float | None = None,
    num_splits: int = 0,
    out: torch.Tensor | None = None,
    return_lse: Literal[False] = False,
    backend: str = "auto",
) -> torch.Tensor: ...
@overload
def sparse_paged_decode(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    page_indices: torch.Tensor,
    seq_lens: torch.Tensor,
    block_table: torch.Tensor,
    *,
    softmax_scale: float | None = None,
    num_splits: int = 0,
    out: torch.Tensor | None = None,
    return_lse: Literal[True],
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]: ...
def sparse_paged_decode(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    page_indices: torch.Tensor,
    seq_lens: torch.Tensor,
    block_table: torch.Tensor,
    *,
    softmax_scale: float | None = None,
    num_splits: int = 0,
    out: torch.Tensor | None = None,
    return_lse: bool = False,
    backend: str = "auto",
) -> DecodeResult:
    """Decode attention over the pages in page_indices, int32 [batch, num_kv_heads, num_pages], alone.

    Every page listed is full but the last, which must be the request's current page.

    Returns out [batch, num_q_heads, head_dim], with `return_lse` also the LSE.
    Raises: ValueError if the tensors do not fit each other, the limits, or the backend.
    """
    backend = _check_decode(q, k_cache, v_cache, block_table, seq_lens, num_splits=num_splits, backend=backend)
    check_rank(page_indices, "page_indices", "[batch, num_kv_heads, num_pages]")
    check_int32(page_indices, "page_indices", q)
    listed_shape = (q.shape[0], k_cache.shape[2], page_indices.shape[2])
    check_shape(page_indices, "page_indices", listed_shape, "one list per request and KV head")
    if not q.is_cuda:
        check_values(
            block_table,
            seq_lens,
            page_size=k_cache.shape[1],
            num_physical_pages=k_cache.shape[0],
            q=q,
            page_indices=page_indices,
        )
    out, lse = _outputs(q, out, return_lse=return_lse)
    load_backend("block_topk", backend).sparse_paged_decode(
        q,
        k_cache,
        v_cache,
        page_indices,
        seq_lens,
        softmax_scale=_scale(softmax_scale, q),
        num_splits=num_splits,
        out=out,
        lse=lse,
    )
    return out if lse is None else (out, lse)


@overload
def block_topk_decode(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    page_summary: PageSummary,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    *,
    selection: PageSelection,
    softmax_scale: float | None = None,
    num_splits: int = 0,
    out: torch.Tensor | None = None,
    return_lse: Literal[False] = False,
    backend: str = "auto",
) -> torch.Tensor: ...
@overload
def block_topk_decode(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    page_summary: PageSummary,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    *,
    selection: PageSelection,
    softmax_scale: float | None = None,
    num_splits: int = 0,
    out: torch.Tensor | None = None,
    return_lse: Literal[True],
    backend: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]: ...
def block_topk_decode(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    page_summary: PageSummary,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    *,
    selection: PageSelection,
    softmax_scale: float | None = None,
    num_splits: int = 0,
    out: torch.Tensor | None = None,
    return_lse: bool = False,
    backend: str = "auto",
) -> DecodeResult:
    """The whole sparse path: score every page, select `selection`, attend to the pages selected.

    Returns out [batch, num_q_heads, head_dim], with `return_lse` also the LSE over the selected tokens.
    Raises: ValueError if the tensors do not fit each other, the limits, or the backend.
    """
    backend = _check_decode(q, k_cache, v_cache, block_table, seq_lens, num_splits=num_splits, backend=backend)
    check_page_summary_fits(page_summary, k_cache)
    page_size = k_cache.shape[1]
    if not q.is_cuda:
        check_values(block_table, seq_lens, page_size=page_size, num_physical_pages=k_cache.shape[0], q=q)
    out, lse = _outputs(q, out, return_lse=return_lse)
    kernels = load_backend("block_topk", backend)
    scores = torch.empty((q.shape[0], k_cache.shape[2], block_table.shape[1]), dtype=torch.float32, device=q.device)
    kernels.score_pages(q, page_summary, block_table, seq_lens, page_size=page_size, scores=scores)
    if not q.is_cuda:
        check_scores(scores, seq_lens, page_size=page_size)
    page_indices = _select(scores, block_table, seq_lens, page_size=page_size, selection=selection, backend=backend)
    kernels.sparse_paged_decode(
        q,
        k_cache,
        v_cache,
        page_indices,
        seq_lens,
        softmax_scale=_scale(softmax_scale, q),
        num_splits=num_splits,
        out=out,
        lse=lse,
    )
    return out if lse is None else (out, lse)


def _check_decode(
    q: torch.Tensor,
    k_cache: torch.Tensor,
    v_cache: torch.Tensor,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    *,
    num_splits: int,
    backend: str,
) -> str:
    backend = resolve_backend(backend, q)
    check_cache(k_cache, v_cache)
    check_like(k_cache, "k_cache", q, "q")
    check_query(q, num_kv_heads=k_cache.shape[2], head_dim=k_cache.shape[3])
    check_table(block_table, seq_lens, batch=q.shape[0], like=q)
    check_num_splits(num_splits)
    return backend


def _outputs(
    q: torch.Tensor, out: torch.Tensor | None, *, return_lse: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    if out is None:
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    else:
        check_shape(out, "out", tuple(q.shape), "the shape of q")
        check_like(out, "out", q, "q")
    lse = torch.empty(q.shape[:2], dtype=torch.float32, device=q.device) if return_lse else None
    return out, lse


def _select(
    scores: torch.Tensor,
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    *,
    page_size: int,
    selection: PageSelection,
    backend: str,
) -> torch.Tensor:
    shape = (*scores.shape[:2], selection.num_pages)
    page_indices = torch.empty(shape, dtype=torch.int32, device=scores.device)
    load_backend("block_topk", backend).select_pages(
        scores,
        block_table,
        seq_lens,
        page_size=page_size,
        num_sink_pages=selection.num_sink_pages,
        num_local_pages=selection.num_local_pages,
        page_indices=page_indices,
    )
    return page_indices


def _scale(softmax_scale: float | None, q: torch.Tensor) -> float:
    return float(q.shape[-1]) ** -0.5 if softmax_scale is None else float(softmax_scale)
