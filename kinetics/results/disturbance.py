"""Whether a row was measured in company that makes its time worthless, and why: read from the row alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

MAX_OTHERS_CPU_SHARE: Final = 0.15
"""Of all CPUs. On two cores, launches of identical code beside neighbours that took 0.3 were seen to differ by up to
35 %; beside 0.05, by 5 %."""
MAX_STEAL_SHARE: Final = 0.05
MIN_CANARY_SHARE: Final = 0.6
"""Of the read bandwidth that was measured when the run began."""
MAX_TEMPERATURE_C: Final = 95.0
"""Makers hold clocks down from about there on."""


def disturbed_rows(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """How many rows of a file were disturbed, and what the first one says; None if none was."""
    found = [row for row in rows if row.get("disturbed")]
    if not found:
        return None
    return f"{len(found)} of {len(rows)} rows, such as {found[0].get('case')}: {found[0]['disturbed']}"


def disturbance(row: Mapping[str, Any]) -> str | None:
    """What disturbed the measurement of a row, worst first; None if nothing did, or nothing is known."""
    if complaint := row.get("device_complaint"):
        return str(complaint)
    others, steal = row.get("others_cpu_share"), row.get("steal_share")
    if others is not None and others > MAX_OTHERS_CPU_SHARE:
        return f"other programs took {100 * others:.0f} % of the CPUs"
    if steal is not None and steal > MAX_STEAL_SHARE:
        return f"the hypervisor took {100 * steal:.0f} % of the CPUs"
    canary, ceiling = row.get("canary_bytes_per_s"), row.get("ceiling_bytes_per_s")
    if canary and ceiling and canary < MIN_CANARY_SHARE * ceiling and row.get("cache_state") == "cold":
        return f"memory was read at {100 * canary / ceiling:.0f} % of its ceiling between the samples"
    temperature = row.get("temperature_c")
    if temperature is not None and temperature > MAX_TEMPERATURE_C:
        return f"a sensor read {temperature:.0f} degrees Celsius"
    return None
