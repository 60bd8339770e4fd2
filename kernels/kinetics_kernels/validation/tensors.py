"""What must hold of the tensors given to a kernel: ranks, sizes, dtypes, devices. Their values are not read here.

Every check raises one ValueError that names the subject, the rule, what it got and the remedy.
"""

from __future__ import annotations

import torch

from kinetics_kernels.dtypes import dtype_name
from kinetics_kernels.shapes import (
    MAX_GROUP_SIZE,
    SUPPORTED_HEAD_DIMS,
    SUPPORTED_PAGE_SIZES,
    PagedCache,
    PageSummary,
    PageSummaryKind,
)


def check_cache(cache: PagedCache, *, batch: int, like: torch.Tensor | None = None) -> None:
    """Keys and values are laid out alike, and the tables name pages for `batch` requests where the data lies."""
    k_cache, v_cache = cache.k_cache, cache.v_cache
    check_rank(k_cache, "k_cache", "[num_physical_pages, page_size, num_kv_heads, head_dim]")
    check_page_size(cache.page_size)
    check_head_dim(cache.head_dim)
    check_shape(v_cache, "v_cache", tuple(k_cache.shape), "the shape of k_cache")
    check_like(v_cache, "v_cache", k_cache, "k_cache")
    check_scales(cache)
    check_table(cache.block_table, cache.seq_lens, batch=batch, like=k_cache)
    if like is not None:
        check_device(k_cache, "k_cache", like)


def check_scales(cache: PagedCache) -> None:
    """A cache of 8-bit floats has a scale for each page and head; others have none."""
    for name, scale in (("k_scale", cache.k_scale), ("v_scale", cache.v_scale)):
        if (scale is not None) != (cache.k_cache.dtype == torch.float8_e4m3fn):
            got = f"{'none' if scale is None else 'one'} for {dtype_name(cache.k_cache.dtype)}"
            raise ValueError(
                f"{name} must be given for float8_e4m3fn and nothing else, got {got}; make the cache with narrow_cache"
            )
        if scale is not None:
            expected = (cache.num_physical_pages, cache.num_kv_heads)
            check_shape(scale, name, expected, "[num_physical_pages, num_kv_heads]")
            if scale.dtype != torch.float32:
                raise ValueError(f"{name} must be float32, got {dtype_name(scale.dtype)}; convert it with .float()")
            check_device(scale, name, cache.k_cache)
    if cache.k_scale is not None and cache.v_scale is not None and cache.k_scale.stride() != cache.v_scale.stride():
        strides = cache.k_scale.stride()
        raise ValueError(
            f"v_scale must have the strides of k_scale, {strides}, got {cache.v_scale.stride()}; make both contiguous"
        )


def check_held_in(data: torch.Tensor, subject: str, cache: PagedCache) -> None:
    """Data lies where the cache lies, in its dtype unless that is of 8 bits."""
    if cache.k_scale is None:
        check_like(cache.k_cache, "k_cache", data, subject)
    else:
        check_device(cache.k_cache, "k_cache", data)


def check_query(q: torch.Tensor, *, num_kv_heads: int, head_dim: int) -> None:
    """A query is [batch, num_q_heads, head_dim] with 1 to 16 query heads per KV head."""
    check_rank(q, "q", "[batch, num_q_heads, head_dim]")
    check_head_dim(q.shape[2])
    if q.shape[2] != head_dim:
        raise ValueError(
            f"q must have the head_dim of the keys, {head_dim}, got {q.shape[2]}; pass one model's tensors"
        )
    num_q_heads = q.shape[1]
    if num_q_heads % num_kv_heads or not 1 <= num_q_heads // num_kv_heads <= MAX_GROUP_SIZE:
        raise ValueError(
            f"q must have 1 to {MAX_GROUP_SIZE} query heads for each KV head, got {num_q_heads} query and "
            f"{num_kv_heads} KV heads; repeat KV heads or split the call"
        )


def check_table(block_table: torch.Tensor, seq_lens: torch.Tensor, *, batch: int, like: torch.Tensor) -> None:
    """A block table is int32 [batch, max_pages], sequence lengths are int32 [batch], both where the data is."""
    check_rank(block_table, "block_table", "[batch, max_pages]")
    check_int32(block_table, "block_table", like)
    check_int32(seq_lens, "seq_lens", like)
    if block_table.shape[0] != batch:
        raise ValueError(
            f"block_table must have one row per request, {batch}, got {block_table.shape[0]}; slice it to the batch"
        )
    check_shape(seq_lens, "seq_lens", (batch,), "[batch]")


def check_page_summary(page_summary: PageSummary, *, like: torch.Tensor) -> tuple[int, int]:
    """The number of KV heads and the head_dim of a page summary whose rank fits its kind.

    Raises: ValueError if rank, dtype or device do not fit.
    """
    values = page_summary.values
    if page_summary.kind is PageSummaryKind.MEAN:
        check_rank(values, "page_summary.values (MEAN)", "[num_physical_pages, num_kv_heads, head_dim]")
    else:
        check_rank(values, "page_summary.values (MIN_MAX)", "[num_physical_pages, 2, num_kv_heads, head_dim]")
        if values.shape[1] != 2:
            raise ValueError(
                "page_summary.values (MIN_MAX) must hold a minimum and a maximum per page, "
                f"got {values.shape[1]} rows; build it with summarize_pages"
            )
    check_like(values, "page_summary.values", like, "the data")
    return values.shape[-2], values.shape[-1]


def check_page_summary_fits(page_summary: PageSummary, cache: PagedCache, *, like: torch.Tensor) -> None:
    """A page summary has one row per physical page of the cache, its heads and head_dim, and the dtype of the data."""
    heads_and_dim = check_page_summary(page_summary, like=like)
    got = (page_summary.values.shape[0], *heads_and_dim)
    expected = (cache.num_physical_pages, cache.num_kv_heads, cache.head_dim)
    if got != expected:
        raise ValueError(
            "page_summary.values must match k_cache in (num_physical_pages, num_kv_heads, head_dim) = "
            f"{expected}, got {got}; build it with summarize_pages"
        )


def check_page_size(page_size: int) -> None:
    """A page holds one of the supported numbers of tokens."""
    if page_size not in SUPPORTED_PAGE_SIZES:
        raise ValueError(f"page_size must be one of {SUPPORTED_PAGE_SIZES}, got {page_size}; lay the cache out anew")


def check_head_dim(head_dim: int) -> None:
    """A head has one of the supported sizes."""
    if head_dim not in SUPPORTED_HEAD_DIMS:
        raise ValueError(
            f"head_dim must be one of {SUPPORTED_HEAD_DIMS}, got {head_dim}; pad the heads to one of these"
        )


def check_num_splits(num_splits: int) -> None:
    """Zero splits means: let the backend choose."""
    if num_splits < 0:
        raise ValueError(f"num_splits must not be negative, got {num_splits}; pass 0 to let the backend choose")


def check_rank(tensor: torch.Tensor, subject: str, layout: str) -> None:
    """A tensor has as many dimensions as its layout names, and none of them is empty."""
    if tensor.dim() != layout.count(",") + 1 or tensor.numel() == 0:
        raise ValueError(f"{subject} must be a non-empty {layout}, got shape {tuple(tensor.shape)}; reshape it")


def check_shape(tensor: torch.Tensor, subject: str, expected: tuple[int, ...], layout: str) -> None:
    """A tensor has exactly this shape."""
    if tensor.shape != expected:
        raise ValueError(f"{subject} must have {layout}, {expected}, got {tuple(tensor.shape)}; reshape it")


def check_like(tensor: torch.Tensor, subject: str, like: torch.Tensor, other: str) -> None:
    """A tensor has the dtype and the device of another."""
    if tensor.dtype != like.dtype:
        raise ValueError(
            f"{subject} must have the dtype of {other}, {dtype_name(like.dtype)}, got {dtype_name(tensor.dtype)}; "
            "convert one of them"
        )
    check_device(tensor, subject, like)


def check_int32(tensor: torch.Tensor, subject: str, like: torch.Tensor) -> None:
    """An index tensor is int32 and lies where the data lies."""
    if tensor.dtype != torch.int32:
        raise ValueError(f"{subject} must be int32, got {dtype_name(tensor.dtype)}; convert it with .int()")
    check_device(tensor, subject, like)


def check_device(tensor: torch.Tensor, subject: str, like: torch.Tensor) -> None:
    """A tensor lies where the data lies."""
    if tensor.device != like.device:
        raise ValueError(f"{subject} must be on {like.device} like the data, got {tensor.device}; move it there")
