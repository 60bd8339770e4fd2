"""Joules where a GPU counts them: NVML's total. Optional; reads, never sets.

The counter ticks every hundred milliseconds or so, so that one call cannot be metered: `joules_per_call` repeats it for
seconds, and keeps the device at work all the while. Where there is no counter, or nobody may read it, there is a
reason instead of a number.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from kinetics.machine.device import Device
from kinetics.machine.identity import gpu_uuid
from kinetics.specs.distribution import install_command
from kinetics_kernels.unavailable import Unavailable

METERED_S = 3.0
"""Thirty ticks of the counter: it then errs by 3 % at most."""
_QUEUED_S = 0.02
"""Work queued before the host waits: the gap at each wait, some ten microseconds, is lost in it."""
_MILLI = 1e-3


class EnergyCounter(Protocol):
    """A running total of joules."""

    def joules_since(self, before: float) -> float:
        """What was used since the reading `before`."""

    def read_j(self) -> float:
        """The present reading."""


class EnergyMeter:
    """Joules used by the whole device within a `with` block; all programs on it are counted.

    `joules` is None where there is no counter; `unavailable` then says why.
    """

    def __init__(self, counter: EnergyCounter | Unavailable) -> None:
        self.joules: float | None = None
        self.unavailable = counter if isinstance(counter, Unavailable) else None
        self._counter = None if isinstance(counter, Unavailable) else counter
        self._before = 0.0

    def __enter__(self) -> EnergyMeter:
        if self._counter is not None:
            self._before = self._counter.read_j()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._counter is not None and kind is None:
            self.joules = self._counter.joules_since(self._before)


def joules_per_call(
    counter: EnergyCounter,
    run: Callable[[], object],
    *,
    calls_per_run: int,
    wait: Callable[[], object],
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Joules of one call, idle power included: `run`, which queues several calls, is repeated for three seconds.

    `wait` returns once the device has done what was queued.
    """
    wait()
    start = clock()
    run()
    wait()
    runs_per_wait = max(1, math.ceil(_QUEUED_S / max(clock() - start, 1e-9)))
    num_runs, start = 0, clock()
    with EnergyMeter(counter) as meter:
        while clock() - start < METERED_S:
            for _ in range(runs_per_wait):
                run()
            wait()
            num_runs += runs_per_wait
    assert meter.joules is not None
    return meter.joules / (num_runs * calls_per_run)


def energy_counter(device: Device) -> EnergyCounter | Unavailable:
    """The counter of this device, or why there is none."""
    if device.kind == "cpu":
        # Its counter would be of all engines on it, and a call that is repeated finds its data in cache.
        return Unavailable("energy is metered on GPUs alone")
    return nvml_counter(device.index)


class NvmlCounter:
    """Joules of one GPU since its driver was loaded."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._nvml = nvml
        self._handle = handle

    def read_j(self) -> float:
        """The present reading."""
        return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) * _MILLI

    def joules_since(self, before: float) -> float:
        """What was used since the reading `before`."""
        return self.read_j() - before


def nvml_counter(index: int, *, load: Callable[[], Any] | None = None) -> NvmlCounter | Unavailable:
    """The energy counter of a GPU, by torch's index, or why there is none. `load` returns the module pynvml."""
    try:
        nvml = (load or _load_nvml)()
    except ImportError:
        return Unavailable(f"nvidia-ml-py is not installed; {install_command('gpu')}")
    try:
        nvml.nvmlInit()
        counter = NvmlCounter(nvml, nvml.nvmlDeviceGetHandleByUUID(gpu_uuid(index)))
        counter.read_j()
    except nvml.NVMLError as error:
        return Unavailable(f"NVML does not tell the energy of this GPU ({error})")
    return counter


def _load_nvml() -> Any:
    import pynvml

    return pynvml
