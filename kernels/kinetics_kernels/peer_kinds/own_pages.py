"""A cache in pages of a peer's own size, for peers that know none so small as ours, or none at all.

Keys and values of each request lie in order, [batch * pages, page_size, num_kv_heads, head_dim]; one page that holds a
whole request is a contiguous cache. Every peer that wants the same size reads the same copy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from kinetics_kernels.dtypes import ELEMENT_BYTES
from kinetics_kernels.providers import ProviderCase
from kinetics_kernels.shapes import num_pages_for
from kinetics_kernels.testing import DecodeInputs

_COPIES = WeakTensorKeyDictionary()
"""By the key cache that was copied and the size of the pages, for as long as it lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPages:
    """Caches, and int32 block_table [batch, pages]."""

    inputs: DecodeInputs
    k_cache: torch.Tensor
    v_cache: torch.Tensor
    block_table: torch.Tensor

    def refresh(self) -> None:
        """Copy what the inputs hold now."""
        for source, out in ((self.inputs.k_cache, self.k_cache), (self.inputs.v_cache, self.v_cache)):
            by_request = out.view(self.inputs.shape.batch, -1, *out.shape[2:])
            for request, length in enumerate(self.inputs.seq_lens.tolist()):
                own = self.inputs.block_table[request, : num_pages_for(length, source.shape[1])].long()
                by_request[request, :length] = source[own].flatten(0, 1)[:length]


def own_pages_bytes(case: ProviderCase, page_size: int) -> int:
    """What `own_pages` takes."""
    shape = case.shape
    slots = shape.batch * num_pages_for(shape.context_len, page_size) * page_size
    return 2 * slots * shape.num_kv_heads * shape.head_dim * ELEMENT_BYTES[case.dtype]


def own_pages(inputs: DecodeInputs, page_size: int) -> OwnPages:
    """The cache of these inputs in pages of this size, filled; zero behind the last token of a request."""
    if inputs.k_cache not in _COPIES:
        _COPIES[inputs.k_cache] = {}
    copies = _COPIES[inputs.k_cache]
    if page_size not in copies:
        shape = inputs.shape
        num_pages = num_pages_for(shape.context_len, page_size)
        size = (shape.batch * num_pages, page_size, shape.num_kv_heads, shape.head_dim)
        k, v = (torch.zeros(size, dtype=inputs.k_cache.dtype, device=inputs.k_cache.device) for _ in ("k", "v"))
        table = torch.arange(len(k), dtype=torch.int32, device=k.device).view(shape.batch, num_pages)
        copies[page_size] = k, v, table
    k, v, table = copies[page_size]
    own = OwnPages(inputs=inputs, k_cache=k, v_cache=v, block_table=table)
    own.refresh()
    return own
