"""How much the KV heads of a request agree on the pages to keep.

Heads that keep the same pages read longer runs of memory: on a CPU the same bytes then move up to half as fast again.
Random keys make heads disagree; real ones agree more. So a sparse row says what its selections were like.
"""

from __future__ import annotations

import torch


def selection_overlap(pages: torch.Tensor) -> float | None:
    """The share of a head's kept pages that another head of its request keeps too, mean over pairs of heads.

    pages: [batch, num_kv_heads, num_pages], -1 in the tail. None for a single head.
    """
    num_heads = pages.shape[1]
    if num_heads < 2:
        return None
    shares = [_shared(request, num_heads) for request in pages.cpu()]
    return sum(shares) / len(shares)


def _shared(pages: torch.Tensor, num_heads: int) -> float:
    kept = pages[pages >= 0]
    _, num_keepers = torch.unique(kept, return_counts=True)
    num_shared = int((num_keepers * (num_keepers - 1)).sum())  # ordered pairs of heads that keep one page
    return num_shared / ((num_heads - 1) * len(kept))
