"""What a result file must say of the machine and the sources it was made with."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import psutil

from kinetics.machine.device import Device, last_level_cache_bytes, num_cpus
from kinetics.machine.identity import gpu_uuid, query_nvidia_smi
from kinetics.specs.hardware import match_device

COMMIT_VARIABLE = "KINETICS_COMMIT"
_VERSIONED = ("torch", "triton", "numba", "numpy", "flash-attn", "flashinfer-python", "pytest-benchmark")


def machine_facts(device: Device) -> dict[str, Any]:
    """What a result file must say of the machine it was made on. Keys carry units."""
    facts: dict[str, Any] = {
        "device": device.name,
        "device_kind": device.kind,
        "device_slug": device.slug,
        "identity": device.identity.as_dict(),
        "num_cpus": num_cpus(),
        "total_memory_bytes": psutil.virtual_memory().total,
        "last_level_cache_bytes": last_level_cache_bytes(device),
        "system": platform.system(),
        "machine": platform.machine(),
        "release": platform.release(),
        "python_version": platform.python_version(),
        "versions": installed_versions(),
    }
    return facts | (_cuda_facts(device) if device.kind == "cuda" else _cpu_facts())


def installed_versions() -> dict[str, str]:
    """Version of every library whose version can change a measurement, where it is installed."""
    found = {}
    for name in _VERSIONED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def source_state(root: Path) -> tuple[str, bool]:
    """(commit id, whether tracked sources differ from it, or may). Files under results/ do not make a tree dirty.

    Where there is no git checkout, the environment variable KINETICS_COMMIT names the commit that the files are of,
    with `-dirty` behind it if they differ from it; without it, ("unknown", False).
    """
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return _named_commit() or ("unknown", False)
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)results")
    return commit, changed != ""


def _named_commit() -> tuple[str, bool] | None:
    """Raises: ValueError if the variable holds something else than a commit."""
    named = os.environ.get(COMMIT_VARIABLE, "")
    if not named:
        return None
    found = re.fullmatch(r"([0-9a-f]{7,40})(-dirty)?", named)
    if not found:
        raise ValueError(f"{COMMIT_VARIABLE} must be a commit of 7 to 40 hex digits, -dirty or not, got {named!r:.60}")
    return found.group(1), bool(found.group(2))


def _cpu_facts() -> dict[str, Any]:
    import torch

    return {"torch_threads": torch.get_num_threads()}


def _cuda_facts(device: Device) -> dict[str, Any]:
    import torch

    properties = torch.cuda.get_device_properties(device.index)
    data_sheet = match_device(device.name)
    return {
        "data_sheet": data_sheet.name if data_sheet else None,
        "data_sheet_bytes_per_s": data_sheet.memory_bytes_per_s if data_sheet else None,
        "cuda_version": torch.version.cuda,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "num_multiprocessors": properties.multi_processor_count,
        "device_memory_bytes": properties.total_memory,
        "gpu_uuid": gpu_uuid(device.index),
        **_nvidia_smi_facts(gpu_uuid(device.index)),
    }


def _nvidia_smi_facts(uuid: str) -> dict[str, str]:
    """Driver, clocks, power and temperature as text; empty where nvidia-smi is missing."""
    fields = ("driver_version", "clocks.sm", "clocks.mem", "power.limit", "temperature.gpu", "ecc.mode.current")
    return {f"nvidia_smi.{name}": text for name, text in query_nvidia_smi(uuid, fields).items()}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=20, check=True)  # noqa: S603, S607 - git from PATH is what the user runs
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
