"""Joules where the machine counts them: NVML's total on a GPU, RAPL's packages on a CPU. Optional; reads, never sets.

A counter ticks every few milliseconds (RAPL) to a hundred (NVML), so that one call cannot be metered: `joules_per_call`
repeats it for half a second. Kernels on a CPU are not metered: repeated, they would find their data in cache. Where
there is no counter, or nobody may read it, there is a reason instead of a number.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from kinetics.environment import Device, gpu_uuid

METERED_S = 0.5
_POWERCAP = Path("/sys/class/powercap")
_MICRO = 1e-6
_MILLI = 1e-3


class EnergyCounter(Protocol):
    """A running total of joules."""

    def joules_since(self, before: float) -> float:
        """What was used since the reading `before`."""

    def read_j(self) -> float:
        """The present reading."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """There is no energy reading, and why."""

    reason: str


class EnergyMeter:
    """Joules used by the whole device within a `with` block; all programs on it are counted.

    `joules` is None where there is no counter; `absent_reason` then says why.
    """

    def __init__(self, counter: EnergyCounter | Absent) -> None:
        self.joules: float | None = None
        self.absent_reason = counter.reason if isinstance(counter, Absent) else None
        self._counter = None if isinstance(counter, Absent) else counter
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
    counter: EnergyCounter, run: Callable[[], object], *, calls_per_run: int, wait: Callable[[], object]
) -> float:
    """Joules of one call, idle power included: `run`, which makes several calls, is repeated for half a second.

    `wait` returns once the device has done what was queued.
    """
    wait()
    num_runs, start = 0, time.perf_counter()
    with EnergyMeter(counter) as meter:
        while time.perf_counter() - start < METERED_S:
            run()
            wait()
            num_runs += 1
    assert meter.joules is not None
    return meter.joules / (num_runs * calls_per_run)


def energy_counter(device: Device) -> EnergyCounter | Absent:
    """The counter of this device, or why there is none."""
    return nvml_counter(device.index) if device.kind == "cuda" else rapl_counter()


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


def nvml_counter(index: int, *, load: Callable[[], Any] | None = None) -> NvmlCounter | Absent:
    """The energy counter of a GPU, by torch's index, or why there is none. `load` returns the module pynvml."""
    try:
        nvml = (load or _load_nvml)()
    except ImportError:
        return Absent(reason="nvidia-ml-py is not installed; pip install 'kinetics-bench[gpu]'")
    try:
        nvml.nvmlInit()
        counter = NvmlCounter(nvml, nvml.nvmlDeviceGetHandleByUUID(gpu_uuid(index)))
        counter.read_j()
    except nvml.NVMLError as error:
        return Absent(reason=f"NVML does not tell the energy of this GPU ({error})")
    return counter


class RaplCounter:
    """Joules of all CPU packages. Each counter starts again at zero after `max_energy_range_uj`."""

    def __init__(self, packages: list[Path]) -> None:
        self._packages = packages
        self._ranges_j = [_read_micro(package / "max_energy_range_uj") for package in packages]
        self._readings_j = self._read_all()
        self._total_j = 0.0

    def read_j(self) -> float:
        """Joules since this object was made. Must be called once per turn of a counter, some minutes at full power."""
        readings = self._read_all()
        for now, before, full in zip(readings, self._readings_j, self._ranges_j, strict=True):
            self._total_j += (now - before) % full
        self._readings_j = readings
        return self._total_j

    def joules_since(self, before: float) -> float:
        """What was used since the reading `before`."""
        return self.read_j() - before

    def _read_all(self) -> list[float]:
        return [_read_micro(package / "energy_uj") for package in self._packages]


def rapl_counter(powercap: Path = _POWERCAP) -> RaplCounter | Absent:
    """The energy counter of the CPU packages, or why there is none. A platform's total (psys) holds them already."""
    try:
        packages = sorted(path for path in powercap.glob("intel-rapl:*") if _is_package(path))
        if not packages:
            return Absent(reason=f"this CPU shows no energy counter under {powercap}")
        return RaplCounter(packages)
    except PermissionError:
        return Absent(reason=f"only root may read the energy counter under {powercap}")
    except (OSError, ValueError) as error:
        return Absent(reason=f"the energy counter under {powercap} cannot be read ({error})")


def _is_package(zone: Path) -> bool:
    return zone.name.count(":") == 1 and (zone / "name").read_text().startswith("package")


def _load_nvml() -> Any:
    import pynvml

    return pynvml


def _read_micro(path: Path) -> float:
    return int(path.read_text()) * _MICRO
