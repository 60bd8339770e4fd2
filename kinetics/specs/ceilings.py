"""The fastest that a device was seen, or is said, to go."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkCeilings:
    """How fast ranks were seen to add up: bytes that one moves in a large all-reduce, and the time of an empty one."""

    bytes_per_s: float
    collective_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """The fastest this device was seen to go.

    `cached_read_bytes_per_s` holds for data that stays in the last-level cache (`cache_bytes`). `launch_s` is the
    time of a call on one element: of torch on a CPU, inside a graph on a GPU.
    """

    read_bytes_per_s: float
    cached_read_bytes_per_s: float
    copy_bytes_per_s: float
    matmul_flop_per_s: float
    launch_s: float
    cache_bytes: int

    def bytes_per_s(self, num_bytes: int, *, is_warm: bool) -> float:
        """The bandwidth roof of a call that moves `num_bytes`: the cache's only if warm and it fits in half of it."""
        fits = is_warm and num_bytes <= self.cache_bytes // 2
        return self.cached_read_bytes_per_s if fits else self.read_bytes_per_s
