"""Who else is on the machine while a case is timed, and whether its clocks were held down.

Reads /proc and nvidia-smi; changes nothing. What cannot be read is not counted as quiet on a GPU: it is said.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

MAX_OTHERS_CPU_SHARE = 0.15
"""Of all CPUs. On two cores, launches of identical code beside neighbours that took 0.3 were seen to differ by up to
35 %; beside 0.05, by 5 %."""
_HARMFUL_THROTTLE_BITS = {0x08: "hardware slow-down", 0x20: "software thermal", 0x40: "hardware thermal", 0x80: "brake"}

CpuSeconds = Callable[[], float]
Query = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What was seen while one case was timed. `complaint` says what was wrong with the GPU, None if nothing."""

    others_cpu_share: float
    complaint: str | None

    @property
    def disturbance(self) -> str | None:
        """Why a launch under these circumstances does not count; None if it does."""
        if self.complaint:
            return self.complaint
        if self.others_cpu_share > MAX_OTHERS_CPU_SHARE:
            return f"other programs took {100 * self.others_cpu_share:.0f} % of the CPUs"
        return None


class Watch:
    """Watches from construction to `seen`; `look` while the device is at work.

    `own_cpu_s`: CPU seconds that the measuring processes have used so far. `gpu`: what is wrong with the device now.
    """

    def __init__(self, own_cpu_s: CpuSeconds, *, gpu: Callable[[], str | None] | None) -> None:
        self._own_cpu_s = own_cpu_s
        self._gpu = gpu
        self._start = time.monotonic(), _busy_s(), own_cpu_s()
        self._complaint: str | None = None
        self.look()

    def look(self) -> None:
        """Remember the first thing that is wrong with the device; a throttled clock shows only under load."""
        if self._gpu and not self._complaint:
            self._complaint = self._gpu()

    def seen(self) -> Surroundings:
        """What happened since."""
        started, busy_s, own_s = self._start
        capacity_s = (time.monotonic() - started) * (psutil.cpu_count() or 1)
        others_s = (_busy_s() - busy_s) - (self._own_cpu_s() - own_s)
        share = min(1.0, max(0.0, others_s / max(capacity_s, 1e-9)))
        return Surroundings(others_cpu_share=share, complaint=self._complaint)


def own_cpu_s() -> float:
    """CPU time of this process, all threads."""
    return time.process_time()


def gpu_complaint(own_pids: Sequence[int], *, query: Query) -> str | None:
    """A neighbour on the device or a clock held down, in words; None if there is neither.

    `query` answers nvidia-smi's CSV for one list of fields, raising OSError or ValueError if it cannot.
    """
    try:
        pids = [int(line) for line in query("--query-compute-apps=pid").split()]
        reasons = int(_reasons(query).strip(), 16)
    except (OSError, ValueError) as error:
        return f"the state of the GPU cannot be read ({error})"
    neighbours = sorted(set(pids) - {*own_pids, os.getpid()})
    if neighbours:
        return f"a neighbour on the device (pid {', '.join(map(str, neighbours))})"
    harmful = [name for bit, name in _HARMFUL_THROTTLE_BITS.items() if reasons & bit]
    return f"throttled ({', '.join(harmful)})" if harmful else None


def _reasons(query: Query) -> str:
    """Why clocks are held down, a hexadecimal number; drivers from 535 on know it by the first name, older ones not."""
    try:
        return query("--query-gpu=clocks_event_reasons.active")
    except OSError:
        return query("--query-gpu=clocks_throttle_reasons.active")


def nvidia_smi(device: str) -> Query:
    """A `query` of the device with this UUID or index.

    The query raises OSError where nvidia-smi is missing, fails or hangs.
    """

    def query(fields: str) -> str:
        command = ["nvidia-smi", f"--id={device}", fields, "--format=csv,noheader,nounits"]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout  # noqa: S603 - fixed words
        except subprocess.SubprocessError as error:
            raise OSError(f"nvidia-smi: {error}") from None

    return query


def _busy_s() -> float:
    """CPU seconds that all programs on this machine, and its hypervisor's other guests, have taken since boot."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return float(sum(times) - idle)
