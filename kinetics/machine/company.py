"""Who else was on the machine while a case was measured: other programs, the hypervisor, the scheduler, the heat.

Reads counters of /proc before and after; costs nothing in between. What cannot be read is None, not zero.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import psutil

from kinetics.machine.identity import allowed_cpus


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """Shares are of the time of all CPUs that this process may use.

    `others_cpu_share`: taken by other programs. `steal_share`: taken by other guests of the hypervisor.
    `involuntary_switches_per_s`: how often this process was taken off a CPU. `load_per_cpu`: programs that ran or
    wanted to, on a minute's average. `temperature_c`: the hottest sensor in the end. `device_complaint`: what was wrong
    with a GPU while it worked, a neighbour on it or clocks held down.
    """

    others_cpu_share: float
    steal_share: float | None
    involuntary_switches_per_s: float
    load_per_cpu: float | None
    temperature_c: float | None
    device_complaint: str | None

    def row_fields(self) -> dict[str, Any]:
        """As a row states them."""
        return asdict(self)


class _Reading(NamedTuple):
    """Counters at one moment, in seconds and counts since some start."""

    wall_s: float
    own_cpu_s: float
    busy_s: float
    steal_s: float | None
    switches: int


class CompanyWatch:
    """Watches from construction to `seen`; `look` while a GPU is at work.

    `complaint`: what is wrong with the GPU now; None where there is none, or nothing is. `share` is handed the CPU
    seconds of this process, and returns those of every process of this machine that measures together with it.
    """

    def __init__(
        self,
        complaint: Callable[[], str | None] | None = None,
        *,
        share: Callable[[float], list[float]] = lambda own_s: [own_s],
    ) -> None:
        self._share = share
        self._cpus = allowed_cpus()
        self._complain = complaint
        self._complaint: str | None = None
        self._start = _read(self._cpus)

    def look(self) -> None:
        """Remember the first thing that is wrong with the device; a clock held down shows only under load."""
        if self._complain and not self._complaint:
            self._complaint = self._complain()

    def seen(self) -> Company:
        """What happened since."""
        start, end = self._start, _read(self._cpus)
        wall_s = max(end.wall_s - start.wall_s, 1e-9)
        capacity_s = wall_s * len(self._cpus)
        others_s = end.busy_s - start.busy_s - sum(self._share(end.own_cpu_s - start.own_cpu_s))
        has_steal = start.steal_s is not None and end.steal_s is not None
        return Company(
            others_cpu_share=min(1.0, max(0.0, others_s / capacity_s)),
            steal_share=(end.steal_s - start.steal_s) / capacity_s if has_steal else None,  # type: ignore[operator]
            involuntary_switches_per_s=(end.switches - start.switches) / wall_s,
            load_per_cpu=_load_per_cpu(),
            temperature_c=hottest_c(),
            device_complaint=self._complaint,
        )


def hottest_c() -> float | None:
    """Degrees Celsius of the hottest sensor; None where none can be read."""
    try:
        sensors = psutil.sensors_temperatures()
    except (AttributeError, OSError):  # not on this system; not for this user
        return None
    found = [sensor.current for group in sensors.values() for sensor in group if sensor.current]
    return float(max(found)) if found else None


def _load_per_cpu() -> float | None:
    try:
        return os.getloadavg()[0] / (psutil.cpu_count() or 1)
    except OSError:
        return None


def _read(cpus: tuple[int, ...]) -> _Reading:
    times = psutil.cpu_times(percpu=True)
    allowed = [times[cpu] for cpu in cpus if cpu < len(times)] or times
    return _Reading(
        wall_s=time.monotonic(),
        own_cpu_s=time.process_time(),
        busy_s=sum(_busy_s(one) for one in allowed),
        steal_s=sum(one.steal for one in allowed) if hasattr(allowed[0], "steal") else None,
        switches=psutil.Process().num_ctx_switches().involuntary,
    )


def _busy_s(times: Any) -> float:
    """Seconds in which programs of this machine ran on a CPU; guests of it are counted in `user` already."""
    return float(times.user + times.system + times.nice + getattr(times, "irq", 0.0) + getattr(times, "softirq", 0.0))
