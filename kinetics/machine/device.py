"""What this machine is: device, software versions, free memory, cache sizes, and the state of the source tree.

Reads, never sets: clocks, power limits and thread counts stay as they are found. torch is imported only inside
functions, so that a laptop without it can still read result files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from kinetics.machine.identity import allowed_cpus, cpu_identity, cuda_identity
from kinetics.specs.identity import DeviceIdentity

_ASSUMED_CPU_CACHE_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device that can be measured. `kind` is "cpu" or "cuda"; `name` is what the device says it is."""

    kind: str
    index: int
    name: str

    @property
    def torch_name(self) -> str:
        """The name torch knows it by: "cpu" or "cuda:0"."""
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"

    @property
    def identity(self) -> DeviceIdentity:
        """The facts that tell it from other devices."""
        return cpu_identity() if self.kind == "cpu" else cuda_identity(self.index, self.name)

    @property
    def slug(self) -> str:
        """The device's folder among results: `nvidia-h200`, `cpu-amd-epyc-zen5-2c`."""
        return self.identity.slug


def resolve_device(requested: str) -> Device:
    """The device that `auto`, `cpu`, `cuda` or `cuda:<index>` names on this machine.

    Raises: ValueError if the name is unknown or there is no such device.
    """
    if requested == "cpu":
        return _cpu()
    match = re.fullmatch(r"auto|cuda(?::(\d+))?", requested)
    if not match:
        raise ValueError(f"--device must be auto, cpu, cuda or cuda:<index>, got {requested!r}")
    import torch

    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if requested == "auto" and not num_gpus:
        return _cpu()
    index = int(match.group(1) or 0)
    if index >= num_gpus:
        raise ValueError(
            f"--device {requested}: torch {torch.__version__} sees {num_gpus} CUDA devices; use --device cpu"
        )
    torch.cuda.set_device(index)  # graphs, events and synchronisation follow the current device
    return Device(kind="cuda", index=index, name=torch.cuda.get_device_name(index))


@cache
def num_cpus() -> int:
    """CPUs this process may run on (its affinity mask, not the machine's total)."""
    return len(allowed_cpus())


def last_level_cache_bytes(device: Device) -> int:
    """Size of the largest data cache; 32 MiB is assumed on a CPU that does not tell."""
    if device.kind == "cuda":
        import torch

        properties: Any = torch.cuda.get_device_properties(device.index)
        return int(properties.L2_cache_size)
    facts = device.identity.facts
    return max(int(facts.get("l2_bytes", 0)), int(facts.get("l3_bytes", 0))) or _ASSUMED_CPU_CACHE_BYTES


def available_bytes(device: Device) -> int:
    """Memory that can be allocated now: free device memory, or what the kernel and the cgroup leave a process."""
    if device.kind == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device.index)[0])
    return min(int(psutil.virtual_memory().available), _cgroup_headroom_bytes())


def _cpu() -> Device:
    return Device(kind="cpu", index=0, name=cpu_identity().name)


def _cgroup_headroom_bytes() -> int:
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
    except (OSError, ValueError):
        return 2**63 - 1
    return 2**63 - 1 if limit == "max" else max(0, int(limit) - used)
