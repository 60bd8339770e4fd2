"""Whose memory a page is: values that lie in range and still name the wrong keys, or one page for two writers.

A kernel cannot crash on these, it gives a wrong answer; so they are looked for where somebody asks, not in every call.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from kinetics_kernels.shapes import PagedCache

IntArray = npt.NDArray[np.int32]


def check_memory(cache: PagedCache) -> None:
    """Every key, value and scale has a place of its own: an expanded cache is smaller than it says.

    Raises: ValueError if elements share their memory.
    """
    for name in ("k_cache", "v_cache", "k_scale", "v_scale"):
        tensor = getattr(cache, name)
        if tensor is not None and _shares_elements(tensor):
            raise ValueError(
                f"{name} must have memory for every element, got strides {tuple(tensor.stride())} for shape "
                f"{tuple(tensor.shape)}; copy it with .contiguous()"
            )


def check_tables(used: Sequence[IntArray]) -> None:
    """`used`: the pages of each request. Full pages may be shared, not the current one, into which a token is written.

    Raises: ValueError if a request has a page twice, or another's current page.
    """
    current: dict[int, int] = {}
    for request, pages in enumerate(used):
        if (twice := _first_twice(pages)) is not None:
            raise ValueError(f"block_table must hold a page once per request, got {twice} twice for request {request}")
        current.setdefault(int(pages[-1]), request)
    writers = np.fromiter(current, dtype=np.int32)
    for request, pages in enumerate(used):
        for page in pages[np.isin(pages, writers)]:
            if current[int(page)] != request:
                raise ValueError(
                    f"the current page must be one request's alone, got {page} for requests {current[int(page)]} and "
                    f"{request}; copy a shared page before appending to it"
                )


def check_page_lists(page_lists: IntArray, used: Sequence[IntArray]) -> None:
    """`page_lists`: [batch, num_kv_heads, num_pages], -1 in the tail; `used`: the pages of each request.

    Raises: ValueError if a list holds a page twice, or one that its request does not have.
    """
    for request, (lists, pages) in enumerate(zip(page_lists, used, strict=True)):
        for kv_head, listed in enumerate(lists):
            place = f"for request {request}, KV head {kv_head}"
            listed = listed[listed >= 0]
            if (twice := _first_twice(listed)) is not None:
                raise ValueError(f"page_indices must hold a page once per list, got {twice} twice {place}")
            foreign = listed[~np.isin(listed, pages)]
            if foreign.size:
                raise ValueError(f"page_indices must hold pages of the request's own, got {foreign[0]} {place}")


def _first_twice(pages: IntArray) -> int | None:
    ordered = np.sort(pages)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    return int(twice[0]) if twice.size else None


def _shares_elements(tensor: torch.Tensor) -> bool:
    """Whether two indices reach one element: a dimension steps less far than those within it extend."""
    extent = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride < extent:
                return True
            extent += (size - 1) * stride
    return False
