"""Caches of 8-bit floats in plain torch: how numbers are narrowed and widened, and what that costs in accuracy.

4 bits of exponent, 3 of mantissa, no infinity. Each page and head has a scale, the smallest power of two by which its
numbers fit, so that scaling again loses nothing but what falls below the smallest number.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from kinetics_kernels.shapes import PagedCache

DTYPE = torch.float8_e4m3fn
LARGEST = 448.0
SMALLEST_SCALE = 2.0**-64

RELATIVE_ERROR = 2.0**-4
"""Half of the last of 3 mantissa bits."""
SMALLEST_ERROR = 2.0**-10
"""Half of the smallest number, times the scale."""


def scale_for(largest: torch.Tensor) -> torch.Tensor:
    """The smallest powers of two by which numbers up to `largest` fit, float32."""
    mantissa, exponent = torch.frexp(largest.float() / LARGEST)
    # A power of two has mantissa one half and the exponent above its own.
    powers = torch.ldexp(torch.ones_like(mantissa), exponent - (mantissa == 0.5).int())
    return torch.where(mantissa == 0, SMALLEST_SCALE, powers).clamp(min=SMALLEST_SCALE)


def narrow(values: torch.Tensor) -> torch.Tensor:
    """Numbers as 8-bit floats: to nearest, ties to even, what is too large to the largest, NaN to NaN."""
    return values.float().clamp(-LARGEST, LARGEST).to(DTYPE)


def widen(stored: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """What is stored, float32; `scale` has the dimensions of `stored` without the last."""
    return stored.float() * scale[..., None]


def error_budget(values: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The most by which each of these numbers may differ from what is stored of it."""
    return torch.maximum(values.abs().float() * RELATIVE_ERROR, scale[..., None] * SMALLEST_ERROR)


def narrow_cache(cache: PagedCache) -> PagedCache:
    """A copy in 8-bit floats of a whole cache, laid out alike; scales of pages without a number are NaN."""
    (keys, k_scale), (values, v_scale) = (_narrow_pages(pages) for pages in (cache.k_cache, cache.v_cache))
    return replace(cache, k_cache=keys, v_cache=values, k_scale=k_scale, v_scale=v_scale)


def write_slot(pages: torch.Tensor, scale: torch.Tensor, *, page: int, slot: int, vectors: torch.Tensor) -> None:
    """Write one vector per KV head, [num_kv_heads, head_dim], scaling the slots before it anew where it needs more."""
    needed = scale_for(vectors.abs().amax(dim=-1))
    new = torch.maximum(needed, scale[page]) if slot else needed
    pages[page, :slot] = narrow(widen(pages[page, :slot], (scale[page] / new).expand(slot, -1)))
    pages[page, slot] = narrow(vectors.float() / new[:, None])
    scale[page] = new


def _narrow_pages(pages: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    is_number = ~pages.isnan()
    largest = torch.where(is_number, pages.abs().float(), 0.0).amax(dim=(1, 3))
    scale = scale_for(largest).masked_fill(~is_number.any(dim=3).any(dim=1), float("nan"))
    stored = torch.empty_like(pages, dtype=DTYPE)
    stored.copy_(narrow(pages.float() / scale[:, None, :, None]))
    return stored, scale
