"""In which dtype a step multiplies on this device, chosen by timing small products in each candidate.

The CPU's attention kernels are float32 whatever the weights are in, so only products are compared. Most CPUs emulate
bfloat16 and lose a hundredfold with several tokens, though not with one; those with matrix units for it read half the
bytes. So one token and eight are timed, and their sum decides.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch

from kinetics.engine.linear import linear
from kinetics.specs.units import format_seconds

_ROWS, _WIDTH, _REPEATS = 4096, 1024, 3
_TOKENS = (1, 8)
_CANDIDATES = {"cpu": ("float32", "bfloat16"), "cuda": ("bfloat16",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class DtypeChoice:
    """The fastest dtype, and the seconds that the products of one token and of eight took in each; none if untimed."""

    dtype: str
    product_s: Mapping[str, float]

    def __str__(self) -> str:
        """One line for a reader."""
        times = ", ".join(f"{format_seconds(seconds)} in {name}" for name, seconds in self.product_s.items())
        return f"steps multiply in {self.dtype}" + (
            f": the products of one token and of eight took {times}" if times else ""
        )


def choose_dtype(device_kind: str) -> DtypeChoice:
    """The dtype whose products are fastest here. Takes a few tenths of a second where bfloat16 is emulated."""
    candidates = _CANDIDATES[device_kind]
    if len(candidates) == 1:
        return DtypeChoice(dtype=candidates[0], product_s={})
    return fastest({name: _product_s(getattr(torch, name)) for name in candidates})


def fastest(product_s: Mapping[str, float]) -> DtypeChoice:
    """The choice that these times make."""
    return DtypeChoice(dtype=min(product_s, key=lambda name: product_s[name]), product_s=product_s)


def cache_dtype(weights_dtype: torch.dtype, device: torch.device | str) -> torch.dtype:
    """In which dtype keys and values are kept: float32 on a CPU, whose kernels take nothing else."""
    return torch.float32 if torch.device(device).type == "cpu" else weights_dtype


@cache
def _product_s(dtype: torch.dtype) -> float:
    generator = torch.Generator().manual_seed(0)
    tokens, weight = (torch.randn(rows, _WIDTH, generator=generator).to(dtype) for rows in (max(_TOKENS), _ROWS))
    with torch.inference_mode():
        return sum(min(_seconds(tokens[:count], weight) for _ in range(_REPEATS)) for count in _TOKENS)


def _seconds(tokens: torch.Tensor, weight: torch.Tensor) -> float:
    started = time.perf_counter()
    linear(tokens, weight)
    return time.perf_counter() - started
