"""Reads what identifies the device at hand: /proc, /sys and control groups of a CPU, torch and nvidia-smi of a GPU.

Sets nothing, and needs no rights. What a container, a hypervisor or another operating system does not tell is left
out, never guessed.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import psutil

from kinetics.specs.identity import DeviceIdentity, Value, number_in
from kinetics.specs.microarchitectures import microarchitecture
from kinetics.specs.units import MEGA

_CPUINFO_NUMBERS: Final = {
    "family": ("cpu family", "CPU architecture"),
    "model": ("model", "CPU part"),
    "stepping": ("stepping", "CPU revision"),
}
"""By the names of x86 and of ARM."""
_SMI_IDENTITY: Final = ("power.limit", "clocks.max.sm", "clocks.max.mem", "driver_version")


@cache
def cpu_identity() -> DeviceIdentity:
    """The CPU that this process may use."""
    return read_cpu_identity(Path("/"), allowed=allowed_cpus())


@cache
def cuda_identity(index: int, name: str) -> DeviceIdentity:
    """The GPU with this torch index."""
    import torch

    memory_bytes = int(torch.cuda.get_device_properties(index).total_memory)
    uuid = gpu_uuid(index)
    return gpu_identity(name, uuid=uuid, memory_bytes=memory_bytes, texts=query_nvidia_smi(uuid, _SMI_IDENTITY))


def gpu_uuid(index: int) -> str:
    """NVIDIA's tools count all GPUs, torch only the visible ones: the UUID is what both agree on."""
    import torch

    properties: Any = torch.cuda.get_device_properties(index)
    uuid = str(properties.uuid)
    return uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"


def gpu_identity(name: str, *, uuid: str, memory_bytes: int, texts: dict[str, str]) -> DeviceIdentity:
    """A GPU from torch's properties and the texts of nvidia-smi, of which any may be missing."""
    facts: dict[str, Value | None] = {
        "uuid_class": "MIG" if uuid.startswith("MIG-") or " MIG " in name else "GPU",
        "device_memory_bytes": memory_bytes,
        "power_limit_w": number_in(texts.get("power.limit")),
        "max_sm_clock_hz": _hertz(texts.get("clocks.max.sm")),
        "max_memory_clock_hz": _hertz(texts.get("clocks.max.mem")),
        "driver_version": texts.get("driver_version"),
    }
    return DeviceIdentity(kind="cuda", name=name, facts=_known(facts))


def read_cpu_identity(root: Path, *, allowed: Sequence[int]) -> DeviceIdentity:
    """A CPU from the files under `root`, of which any may be missing; `allowed` are the CPUs this process may use."""
    info = _cpuinfo(root, allowed[0])
    facts: dict[str, Value | None] = {
        "vendor": info.get("vendor_id") or info.get("CPU implementer"),
        **{fact: _number(info, names) for fact, names in _CPUINFO_NUMBERS.items()},
        "l2_bytes": _cache_bytes(root, allowed[0], level=2),
        "l3_bytes": _cache_bytes(root, allowed[0], level=3),
        "num_cpus": len(allowed),
        "num_cores": _num_cores(root, allowed),
        "cpu_quota": min([float(len(allowed)), *_quotas(root)]),
        "num_numa_nodes": _num_numa_nodes(root, allowed),
        "total_memory_bytes": _total_memory_bytes(root),
        "is_virtual": "hypervisor" in info["flags"].split() if "flags" in info else None,
    }
    core = {name: facts[name] for name in ("vendor", "family", "model", "stepping")}
    if None not in core.values():
        facts["microarchitecture"] = microarchitecture(**core)  # type: ignore[arg-type]
    name = info.get("model name") or os.uname().machine
    return DeviceIdentity(kind="cpu", name=name, facts=_known(facts))


def allowed_cpus() -> tuple[int, ...]:
    """CPUs this process may run on: its affinity mask, not the machine's total."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def query_nvidia_smi(uuid: str, fields: Sequence[str]) -> dict[str, str]:
    """What nvidia-smi says of one GPU, as text by field; empty where it is missing, and without what it does not know.

    A field that one driver renamed makes the whole query fail: then each is asked for by itself.
    """
    found = _ask_nvidia_smi(uuid, fields)
    if found is None and len(fields) > 1:
        answers = [_ask_nvidia_smi(uuid, [field]) for field in fields]
        found = {key: value for answer in answers if answer for key, value in answer.items()}
    return {key: value for key, value in (found or {}).items() if value.strip("[]") not in ("N/A", "Not Supported")}


def _ask_nvidia_smi(uuid: str, fields: Sequence[str]) -> dict[str, str] | None:
    command = ["nvidia-smi", f"--id={uuid}", f"--query-gpu={','.join(fields)}", "--format=csv,noheader"]
    try:
        line = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()  # noqa: S603 - fixed words
    except (OSError, subprocess.SubprocessError):
        return None
    parts = [part.strip() for part in line.split(",")]
    return dict(zip(fields, parts, strict=True)) if len(parts) == len(fields) else None


def _known(facts: dict[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in facts.items() if value is not None}


def _hertz(text: str | None) -> float | None:
    megahertz = number_in(text)
    return None if megahertz is None else megahertz * MEGA


def _cpuinfo(root: Path, cpu: int) -> dict[str, str]:
    """What /proc/cpuinfo says of one CPU: control groups may hide the first ones."""
    for block in _read(root / "proc/cpuinfo").split("\n\n"):
        pairs = [line.split(":", 1) for line in block.splitlines() if ":" in line]
        info = {key.strip(): value.strip() for key, value in pairs}
        if info.get("processor") == str(cpu):
            return info
    return {}


def _number(info: dict[str, str], names: Iterable[str]) -> int | None:
    text = next((info[name] for name in names if name in info), "")
    return int(text, 0) if re.fullmatch(r"\d+|0x[0-9a-fA-F]+", text) else None


def _cache_bytes(root: Path, cpu: int, *, level: int) -> int | None:
    for folder in sorted((root / f"sys/devices/system/cpu/cpu{cpu}/cache").glob("index*")):
        if _read(folder / "level") == str(level) and _read(folder / "type") != "Instruction":
            return parse_cache_size(_read(folder / "size"))
    return None


def parse_cache_size(text: str) -> int | None:
    """Bytes of a size as /sys writes it, `1024K`; None for what is none."""
    match = re.fullmatch(r"(\d+)([KMG]?)", text.strip())
    return int(match.group(1)) * {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}[match.group(2)] if match else None


def _num_cores(root: Path, allowed: Iterable[int]) -> int | None:
    cores = set()
    for cpu in allowed:
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        core = _read(topology / "physical_package_id"), _read(topology / "core_id")
        if not core[1]:
            return None
        cores.add(core)
    return len(cores)


def _num_numa_nodes(root: Path, allowed: Iterable[int]) -> int | None:
    """Nodes that the allowed CPUs lie on."""
    lists = [_read(path) for path in (root / "sys/devices/system/node").glob("node*/cpulist")]
    cpus = set(allowed)
    return sum(bool(cpus & _listed_cpus(text)) for text in lists) or None


def _listed_cpus(text: str) -> set[int]:
    """The CPUs of a list such as `0-3,8`."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            found.update(range(int(first), int(last or first) + 1))
    return found


def _total_memory_bytes(root: Path) -> int | None:
    match = re.search(r"^MemTotal:\s+(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    if match:
        return int(match.group(1)) * 1024
    return int(psutil.virtual_memory().total) if root == Path("/") else None


def _quotas(root: Path) -> list[float]:
    """CPUs' worth of time that the control groups of this process allow, of either version; empty without a limit."""
    found = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "" or "cpu" in controllers.split(","):
            mount = root / "sys/fs/cgroup" / (controllers and "cpu")
            group = mount / path.strip("/")
            found += [_quota(folder) for folder in (group, *group.parents) if folder.is_relative_to(mount)]
    return [quota for quota in found if quota is not None]


def _quota(folder: Path) -> float | None:
    second = _read(folder / "cpu.max").split()
    first = [_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")]
    quota, period = (number_in(text) for text in (second if len(second) == 2 else first))
    return quota / period if quota and period else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
