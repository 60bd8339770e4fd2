"""Under which circumstances a run of the gate measured: CPUs, priority, governor, clock, load. Noted, never changed.

A run that pins itself or raises its priority would measure another machine than the one that users have; what holds
is written into the file, so that a wide spread can be understood, and files that differ in it told apart.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from kinetics.machine.conditions import governor_of
from kinetics.machine.identity import allowed_cpus

_CPUS = Path("/sys/devices/system/cpu")
_STEADY_GOVERNOR = "performance"
_BUSY_SHARE = 0.25
_MAX_LISTED = 8


def circumstances() -> dict[str, Any]:
    """What holds now, of this process and the workers it will start. None where this machine does not tell.

    `cpus`: those it may run on. `nice`: its priority, 0 unless somebody set another. `clock_hz`: now, mean of the CPUs.
    `load`: processes that wanted to run in the last minute, on average.
    """
    cpus = sorted(allowed_cpus())
    clock = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    return {
        "cpus": cpus,
        "nice": psutil.Process().nice(),
        "governor": governor_of(cpus, _CPUS),
        "clock_hz": clock.current * 1e6 if clock and clock.current else None,
        "load": os.getloadavg()[0],
    }


def in_words(found: Mapping[str, Any]) -> str:
    """The circumstances in a line, with what would narrow the spread."""
    cpus, governor, clock_hz = found["cpus"], found["governor"], found["clock_hz"]
    parts = [
        f"on CPUs {', '.join(map(str, cpus))}" if len(cpus) <= _MAX_LISTED else f"on {len(cpus)} CPUs",
        f"nice {found['nice']}",
        f"governor {governor or 'not told'}",
        f"{clock_hz / 1e9:.2f} GHz" if clock_hz else "clock not told",
        f"load {found['load']:.1f} at the start",
    ]
    advice = [
        f"set the governor to {_STEADY_GOVERNOR}" if governor not in (None, _STEADY_GOVERNOR) else "",
        "wait until the machine is idle" if found["load"] > _BUSY_SHARE * len(cpus) else "",
    ]
    to_do = " and ".join(filter(None, advice))
    return f"Measured {', '.join(parts)}" + (f"; for narrower spreads {to_do}" if to_do else "")
