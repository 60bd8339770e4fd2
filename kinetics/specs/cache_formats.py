"""How keys, values and latents are kept in a cache: bits of an element, and what scales add to a vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFormat:
    """One way of keeping a vector. A vector of n elements takes n x `element_bits` and one scale each `scale_group`.

    `scale_group` 0: one scale for a whole tensor, which no token pays.
    """

    name: str
    element_bits: int
    scale_bits: int = 0
    scale_group: int = 0

    @property
    def is_fp8(self) -> bool:
        """Whether elements are fp8, for which some layers have a layout of their own."""
        return self.name == "fp8"

    def vector_bytes(self, num_elements: int) -> int:
        """Bytes of one vector, scales included, rounded up."""
        num_scales = -(-num_elements // self.scale_group) if self.scale_group else 0
        return -(-(num_elements * self.element_bits + num_scales * self.scale_bits) // 8)


_FORMATS: Final = (
    CacheFormat(name="bf16", element_bits=16),
    CacheFormat(name="fp8", element_bits=8),
    CacheFormat(name="int4", element_bits=4, scale_bits=16, scale_group=64),
    CacheFormat(name="fp4", element_bits=4, scale_bits=8, scale_group=16),
    CacheFormat(name="fp32", element_bits=32),
)
"""int4 with one fp16 scale each 64 elements; fp4 as NVFP4, with one fp8 scale each 16."""
_ALIASES: Final = {
    "bfloat16": "bf16",
    "float16": "bf16",
    "fp16": "bf16",
    "float8_e4m3fn": "fp8",
    "fp8_e4m3": "fp8",
    "nvfp4": "fp4",
    "float32": "fp32",
}


def find_cache_format(name: str) -> CacheFormat:
    """The format for a name as people type it.

    Raises: ValueError for one that is not in the table.
    """
    wanted = _ALIASES.get(name.lower(), name.lower())
    found = next((one for one in _FORMATS if one.name == wanted), None)
    if found is None:
        raise ValueError(f"a cache format must be one of {', '.join(one.name for one in _FORMATS)}, got {name!r}")
    return found
