"""What must hold of the values inside the tensors given to a kernel: lengths, page ids, NaN, page lists.

Reading values costs a device synchronisation on CUDA, so the API does it by itself only for tensors in host memory;
`check_values` does it anywhere, and looks at whose the pages are besides.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from kinetics_kernels.shapes import PagedCache, num_pages_for
from kinetics_kernels.validation.ownership import check_memory, check_page_lists, check_tables

IntArray = npt.NDArray[np.int32]


def check_values(
    cache: PagedCache,
    *,
    q: torch.Tensor | None = None,
    scores: torch.Tensor | None = None,
    page_indices: torch.Tensor | None = None,
) -> None:
    """Check everything a kernel trusts about values, on any device; call it once before timing CUDA tensors.

    Beside `check_bounds`, what no call looks for by itself: whose the pages are, and that none is there twice. Only
    entries the requests use are read.

    Raises: ValueError as `check_bounds`; and if elements of the cache share their memory, a request has a page twice
    or writes to another's, or a page list holds a page twice or one that its request does not have.
    """
    check_bounds(cache, q=q, scores=scores, page_indices=page_indices)
    check_memory(cache)
    table = _as_numpy(cache.block_table)
    pages_present = num_pages_for(_as_numpy(cache.seq_lens), cache.page_size)
    used = [pages[:num_used] for pages, num_used in zip(table, pages_present, strict=True)]
    check_tables(used)
    if page_indices is not None:
        check_page_lists(_as_numpy(page_indices), used)


def check_bounds(
    cache: PagedCache,
    *,
    q: torch.Tensor | None = None,
    scores: torch.Tensor | None = None,
    page_indices: torch.Tensor | None = None,
) -> None:
    """Check what would let a kernel leave its memory or compute with NaN: cheap enough for every call on a host.

    Raises: ValueError if a length is not in its block table, a page id is out of range, q or scores hold NaN, or a
    page list has a gap or does not end in the current page.
    """
    table, lengths = _as_numpy(cache.block_table), _as_numpy(cache.seq_lens)
    _check_lengths(lengths, table_width=cache.max_pages, page_size=cache.page_size)
    pages_present = num_pages_for(lengths, cache.page_size)
    _check_table(table, pages_present, cache.num_physical_pages)
    if q is not None and _holds_nan(q):
        raise ValueError("q must not hold NaN, got at least one; look for it where q was computed")
    if scores is not None:
        check_scores(scores, cache)
    if page_indices is not None:
        current = table[np.arange(len(lengths)), pages_present - 1]
        _check_page_lists(_as_numpy(page_indices), current, cache.num_physical_pages)


def _check_lengths(lengths: IntArray, *, table_width: int, page_size: int) -> None:
    shortest, longest = int(lengths.min()), int(lengths.max())
    if shortest < 1:
        raise ValueError(
            f"seq_lens must be at least 1 for every request, got {shortest}; it counts the token being decoded"
        )
    if longest > table_width * page_size:
        raise ValueError(
            f"seq_lens must fit the block table, {table_width} pages of {page_size} tokens, got {longest}; widen the "
            "block table"
        )


def _check_table(table: IntArray, pages_present: IntArray, num_physical_pages: int) -> None:
    if not _is_out_of_range(table, num_physical_pages):
        return
    # Entries past a request's last page may hold anything, so the whole table only clears the common case.
    used = table[np.arange(table.shape[1]) < pages_present[:, None]]
    if _is_out_of_range(used, num_physical_pages):
        raise ValueError(
            f"block_table must hold page ids in 0..{num_physical_pages - 1} in the entries used, got "
            f"{_first_out_of_range(used, num_physical_pages)}; check the page allocator"
        )


def check_scores(scores: torch.Tensor, cache: PagedCache) -> None:
    """Check that no page that a request has was scored NaN: selection would drop it without a word.

    Raises: ValueError if one was.
    """
    if not _holds_nan(scores):
        return
    values = _as_numpy(scores)
    pages_present = num_pages_for(_as_numpy(cache.seq_lens), cache.page_size)
    is_used = np.arange(values.shape[2]) < pages_present[:, None, None]
    if np.isnan(values[np.broadcast_to(is_used, values.shape)]).any():
        raise ValueError(
            "scores must not hold NaN for a page the request has, got at least one; look for NaN in the page summary"
        )


def _check_page_lists(page_lists: IntArray, current: IntArray, num_physical_pages: int) -> None:
    is_listed = page_lists >= 0
    num_listed = is_listed.sum(axis=-1)
    if (is_listed[..., 1:] & ~is_listed[..., :-1]).any():
        raise ValueError("page_indices must hold -1 only in the tail, got a page after -1; compact the list")
    last = np.take_along_axis(page_lists, np.maximum(num_listed - 1, 0)[..., None], axis=-1)[..., 0]
    is_wrong = last != current[:, None]
    if is_wrong.any():
        request, kv_head = np.argwhere(is_wrong)[0]
        raise ValueError(
            f"page_indices must end in the current page, {current[request]} for request {request}, got "
            f"{last[request, kv_head]} for KV head {kv_head}; only the last page listed may be partial"
        )
    if _is_out_of_range(page_lists[is_listed], num_physical_pages):
        raise ValueError(
            f"page_indices must hold page ids in 0..{num_physical_pages - 1}, got "
            f"{_first_out_of_range(page_lists[is_listed], num_physical_pages)}; take them from the block table"
        )


def _is_out_of_range(page_ids: IntArray, num_physical_pages: int) -> bool:
    # Read as unsigned, a negative id is larger than any page: one pass instead of two.
    return bool(page_ids.view(np.uint32).max() >= num_physical_pages)


def _first_out_of_range(page_ids: IntArray, num_physical_pages: int) -> int:
    return int(page_ids[(page_ids < 0) | (page_ids >= num_physical_pages)][0])


def _holds_nan(tensor: torch.Tensor) -> bool:
    # numpy's pass takes a third of the time of torch's, but knows no bfloat16.
    return bool(np.isnan(_as_numpy(tensor.float() if tensor.dtype == torch.bfloat16 else tensor)).any())


def _as_numpy(tensor: torch.Tensor) -> npt.NDArray[Any]:
    return tensor.detach().cpu().numpy()
