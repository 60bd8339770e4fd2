"""A contiguous cache with one context length, for peers that know no pages: they get it for free.

All that read the same inputs share one copy: one apiece would crowd out the very kernels they are compared with.
"""

from __future__ import annotations

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from kinetics_kernels.dtypes import ELEMENT_BYTES
from kinetics_kernels.providers import ProviderCase
from kinetics_kernels.testing import DecodeInputs

_COPIES = WeakTensorKeyDictionary()
"""By the key cache that was copied, for as long as it lives."""


def contiguous_bytes(case: ProviderCase) -> int:
    """What `contiguous_cache` takes."""
    shape = case.shape
    num_elements = 2 * shape.batch * shape.context_len * shape.num_kv_heads * shape.head_dim
    return num_elements * ELEMENT_BYTES[case.dtype]


def contiguous_cache(inputs: DecodeInputs, *, reader: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of each request in logical order: [batch, num_kv_heads, context_len, head_dim], contiguous.

    The same memory for every reader of these inputs, holding what they held when it was last copied.
    Raises: ValueError if the contexts differ: a mask would slow `reader` down and make the comparison unfair.
    """
    if len(set(inputs.seq_lens.tolist())) != 1:
        raise ValueError(f"seq_lens must be equal for {reader}, got ragged ones; give every request one context")
    if inputs.k_cache in _COPIES:
        k, v = _COPIES[inputs.k_cache]
        copy_contiguous(inputs, k, v)
        return k, v
    shape, context_len = inputs.shape, int(inputs.seq_lens[0])
    k, v = (inputs.k_cache.new_empty(shape.batch, shape.num_kv_heads, context_len, shape.head_dim) for _ in ("k", "v"))
    copy_contiguous(inputs, k, v)
    _COPIES[inputs.k_cache] = k, v
    return k, v


def copy_contiguous(inputs: DecodeInputs, k: torch.Tensor, v: torch.Tensor) -> None:
    """The present keys and values, into memory of `contiguous_cache`."""
    for pages, out in ((inputs.k_cache, k), (inputs.v_cache, v)):
        for request in range(inputs.shape.batch):
            own = inputs.block_table[request, : inputs.shape.pages_per_request].long()
            out[request] = pages[own].flatten(0, 1)[: out.shape[2]].transpose(0, 1)
