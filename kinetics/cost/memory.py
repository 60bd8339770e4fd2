"""Memory that a case needs, itemised, against what is free. Arithmetic only; nothing is allocated here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kinetics.specs.units import GIBI
from kinetics_kernels.unavailable import Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNeed:
    """Bytes needed, by what needs them."""

    parts: Mapping[str, int]

    @property
    def num_bytes(self) -> int:
        """All parts together."""
        return sum(self.parts.values())

    def unavailable_within(self, available: int, *, share: float) -> Unavailable | None:
        """Why this does not fit into `share` of `available` bytes, with the arithmetic; None if it fits."""
        if self.num_bytes <= share * available:
            return None
        return Unavailable(f"needs {self}, free {available / GIBI:.1f} GiB x {share:.2f}")

    def __str__(self) -> str:
        parts = " + ".join(f"{name} {size / GIBI:.1f}" for name, size in self.parts.items() if size >= 0.05 * GIBI)
        return f"{self.num_bytes / GIBI:.1f} GiB" + (f" ({parts})" if parts else "")
