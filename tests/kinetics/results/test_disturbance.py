"""A row says whether its time is worth anything, and of old rows that do not tell nothing is claimed."""

from __future__ import annotations

from typing import Any

import pytest

from kinetics.results.disturbance import disturbance
from tests.support.result_rows import CIRCUMSTANCES

QUIET = CIRCUMSTANCES | {"canary_bytes_per_s": 1.9e10, "ceiling_bytes_per_s": 2e10, "cache_state": "cold"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"others_cpu_share": 0.14, "steal_share": 0.04, "canary_bytes_per_s": 1.21e10, "temperature_c": 94.0}, None),
        ({"others_cpu_share": 0.16}, "other programs took 16 % of the CPUs"),
        ({"steal_share": 0.06}, "the hypervisor took 6 % of the CPUs"),
        ({"canary_bytes_per_s": 1.19e10}, "memory was read at 60 % of its ceiling"),
        ({"canary_bytes_per_s": 1.19e10, "cache_state": "warm"}, None),
        ({"temperature_c": 96.0}, "a sensor read 96 degrees"),
        ({"device_complaint": "throttled (brake)", "others_cpu_share": 0.9}, "throttled"),
    ],
)
def test_each_kind_of_company_is_named_beyond_its_bound(changes: dict[str, Any], reason: str | None) -> None:
    found = disturbance(QUIET | changes)
    assert found is None if reason is None else (found or "").startswith(reason)


def test_a_row_that_tells_nothing_is_not_called_disturbed() -> None:
    assert disturbance({"median_s": 1.0}) is None
