"""Whether a time can be: no call is faster than an empty one, or than its bytes at the fastest that memory ever was."""

from __future__ import annotations

from typing import Final

from kinetics.specs.ceilings import Ceilings
from kinetics.specs.units import GIGA, format_seconds

MIN_SHARE_OF_BOUND: Final = 0.95
"""A ceiling is the best of samples that were measured, too."""


def why_impossible(seconds: float, *, distinct_bytes: int, is_warm: bool, fastest: Ceilings) -> str | None:
    """Why a call cannot have taken so little time; None if it can.

    `distinct_bytes`: what it must fetch, each byte once. Warm data may come from the cache, cold data cannot.
    """
    if seconds < fastest.launch_s:
        return (
            f"a call must take longer than an empty one, {format_seconds(fastest.launch_s)} here, "
            f"got {format_seconds(seconds)}"
        )
    bytes_per_s = fastest.cached_read_bytes_per_s if is_warm else fastest.read_bytes_per_s
    if seconds < MIN_SHARE_OF_BOUND * distinct_bytes / bytes_per_s:
        return (
            f"{distinct_bytes} bytes must take {format_seconds(distinct_bytes / bytes_per_s)} at the fastest that "
            f"{'the cache' if is_warm else 'memory'} was ever read here, {bytes_per_s / GIGA:.1f} GB/s, "
            f"got {format_seconds(seconds)}: not all of the work was done"
        )
    return None
