"""Six keys that dominate attention, where kernels go wrong: first, newest, the edges of pages, the middle.

Among random keys the newest is one of thousands of equals, and in half precision a kernel that forgets it is within
its error budget. With loud keys each of the six weighs about a seventh of the output at any context length, and so
does forgetting it.
"""

from __future__ import annotations

import math

import torch

from kinetics_kernels.shapes import PagedCache

_MARGIN = 1.0
"""Natural log of how much heavier a loud key is than all quiet ones together."""


def loud_positions(context_len: int, page_size: int) -> list[int]:
    """Positions of the loud keys, ascending: six, or fewer where a short context makes some of them one."""
    start_of_last_page = (context_len - 1) // page_size * page_size
    wanted = {0, page_size - 1, page_size, context_len // 2, start_of_last_page, context_len - 1}
    return sorted(position for position in wanted if position < context_len)


def write_loud_keys(cache: PagedCache, q: torch.Tensor, *, context_len: int) -> None:
    """Overwrite the keys at the loud positions of every request and KV head with one that each of its queries hears.

    q: [batch, num_q_heads, head_dim], the queries that will be asked. Where queries and keys are standard normal,
    logits of quiet keys are too; those of loud ones are ln(context_len) + 1 whatever the queries.
    """
    groups = q.double().view(len(q), cache.num_kv_heads, -1, cache.head_dim)
    product = math.sqrt(cache.head_dim) * (math.log(context_len) + _MARGIN)
    keys = product * (torch.linalg.pinv(groups) @ groups.new_ones(*groups.shape[:3], 1))[..., 0]
    for position in loud_positions(context_len, cache.page_size):
        pages = cache.block_table[:, position // cache.page_size].long()
        cache.k_cache[pages, position % cache.page_size] = keys.to(cache.k_cache.dtype)
