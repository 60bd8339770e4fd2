"""No time is below an empty call's, or below that of its bytes at the fastest that memory ever was."""

from __future__ import annotations

import pytest

from kinetics.results.physics import why_impossible
from kinetics.specs.ceilings import Ceilings

FASTEST = Ceilings(
    read_bytes_per_s=1e10, cached_read_bytes_per_s=1e11, copy_bytes_per_s=1e10, matmul_flop_per_s=1e11, launch_s=1e-6,
    cache_bytes=2**20,
)  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "num_bytes", "is_warm", "reason"),
    [
        (0.99e-6, 1, False, "longer than an empty one"),
        (1.01e-6, 1, False, None),
        (0.94e-3, 10**7, False, "memory was ever read here, 10.0 GB/s"),
        (0.96e-3, 10**7, False, None),
        (0.94e-3, 10**7, True, None),
        (0.94e-4, 10**7, True, "the cache was ever read here, 100.0 GB/s"),
        (0.96e-4, 10**7, True, None),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_else(
    seconds: float, num_bytes: int, is_warm: bool, reason: str | None
) -> None:
    found = why_impossible(seconds, distinct_bytes=num_bytes, is_warm=is_warm, fastest=FASTEST)
    assert found is None if reason is None else reason in (found or "")
