"""Rotary positions: the frequencies of a model, as it was trained with them or stretched for longer contexts.

Source of the stretching: Llama 3.1 (arXiv 2407.21783) and its published code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Llama3Scaling:
    """How Llama 3.1 stretches its context: slow rotations by `factor`, fast ones not at all, between them gradually.

    A rotation is slow if it turns fewer than `low_freq_factor` times within the context of the first training,
    `original_max_position`, and fast if it turns more than `high_freq_factor` times.

    Raises: ValueError if a number is not positive, or slow is not slower than fast.
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position: int

    def __post_init__(self) -> None:
        for field in ("factor", "low_freq_factor", "high_freq_factor", "original_max_position"):
            if not getattr(self, field) > 0:
                raise ValueError(f"{field} of llama3 rotary scaling must be positive, got {getattr(self, field)}")
        if not self.low_freq_factor < self.high_freq_factor:
            raise ValueError(
                "low_freq_factor of llama3 rotary scaling must be below high_freq_factor, "
                f"got {self.low_freq_factor} and {self.high_freq_factor}"
            )

    @classmethod
    def from_config(cls, rope: Mapping[str, Any], *, name: str) -> Llama3Scaling:
        """The scaling that a `rope_scaling` or `rope_parameters` entry of type llama3 describes.

        Raises: ValueError naming the field that is missing or no number.
        """
        fields = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
        for field in fields:
            value = rope.get(field)
            if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e300:
                raise ValueError(f"{field} in the rotary scaling of {name} must be a number, got {str(value)[:40]!r}")
        factor, low, high, original = (rope[field] for field in fields)
        return cls(
            factor=float(factor),
            low_freq_factor=float(low),
            high_freq_factor=float(high),
            original_max_position=int(original),
        )

    def stretched(self, radians_per_token: torch.Tensor) -> torch.Tensor:
        """The frequencies after stretching, as many as before."""
        turns = self.original_max_position * radians_per_token / (2 * math.pi)
        share_fast = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        share_fast = share_fast.clamp(0.0, 1.0)
        return radians_per_token * (share_fast + (1.0 - share_fast) / self.factor)


def radians_per_token(
    head_dim: int, *, theta: float, scaling: Llama3Scaling | None, device: torch.device | str
) -> torch.Tensor:
    """The angle by which each pair of a head's dimensions turns from one token to the next: float32 [head_dim / 2]."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim
    plain = 1.0 / theta**exponents
    return plain if scaling is None else scaling.stretched(plain)
