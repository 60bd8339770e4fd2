"""Which device a time belongs to: the facts that change times, and in what two devices differ.

Pure: `kinetics.machine.identity` reads the facts, result files keep them, and whoever compares times asks here whether
they are of one device. A fact that cannot be read is absent, never guessed; an identity that lacks one says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from kinetics.specs.microarchitectures import microarchitecture
from kinetics.specs.units import GIBI, GIGA

Value = str | int | float | bool
_LARGEST: Final = 2**63
"""JSON knows no largest integer; no fact of a device is as large."""


class Fact(NamedTuple):
    """One fact of an identity. `tolerance` is relative: a kernel's own share of a memory is not the memory."""

    name: str
    words: str
    unit: str = ""
    tolerance: float = 0.0


_CPU_FACTS: Final = (
    Fact("vendor", "vendor"),
    Fact("family", "family"),
    Fact("model", "model"),
    Fact("stepping", "stepping"),
    Fact("microarchitecture", "microarchitecture"),
    Fact("l2_bytes", "L2 of a core", "bytes"),
    Fact("l3_bytes", "L3", "bytes"),
    Fact("num_cpus", "CPUs allowed"),
    Fact("num_cores", "cores allowed"),
    Fact("cpu_quota", "CPU quota"),
    Fact("num_numa_nodes", "NUMA nodes"),
    Fact("total_memory_bytes", "memory", "bytes", 0.02),
    Fact("is_virtual", "virtual machine"),
    Fact("num_threads", "threads"),
)
_GPU_FACTS: Final = (
    Fact("uuid_class", "kind of UUID"),
    Fact("device_memory_bytes", "memory", "bytes", 0.02),
    Fact("power_limit_w", "power limit", "W"),
    Fact("max_sm_clock_hz", "highest SM clock", "Hz"),
    Fact("max_memory_clock_hz", "highest memory clock", "Hz"),
    Fact("driver_version", "driver"),
)
_UNKNOWN: Final = "unknown"
_FACTS: Final = {"cpu": _CPU_FACTS, "cuda": _GPU_FACTS, _UNKNOWN: (*_CPU_FACTS, *_GPU_FACTS)}
_OPTIONAL: Final = {"microarchitecture"}
"""A design younger than the table has none; vendor, family, model and stepping tell it apart all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceIdentity:
    """A device as a result file tells it. `facts`: those that are known, by name, in base SI units.

    `kind` is "cpu", "cuda", or what a file calls a device that nobody measured here.
    """

    kind: str
    name: str
    facts: Mapping[str, Value]

    @property
    def missing(self) -> tuple[str, ...]:
        """Facts that tell such devices apart and are not known, in words."""
        needed = [fact for fact in _FACTS.get(self.kind, ()) if fact.name not in _OPTIONAL]
        return tuple(fact.words for fact in needed if fact.name not in self.facts)

    @property
    def title(self) -> str:
        """The name, and for a CPU what its brand leaves out: `AMD EPYC (zen4, 2 CPUs)`."""
        design, num_cpus = self.facts.get("microarchitecture"), self.facts.get("num_cpus")
        parts = [str(design)] if design else []
        if self.kind == "cpu" and design and num_cpus:
            parts.append(f"{num_cpus} CPU{'s' if num_cpus != 1 else ''}")
        return f"{self.name} ({', '.join(parts)})" if parts else self.name

    @property
    def slug(self) -> str:
        """The name of the device's folder: `nvidia-h200`, `cpu-amd-epyc-zen5-2c`."""
        words = _words(_plain_brand(self.name) if self.kind == "cpu" else self.name)
        return "-".join(("cpu", words, *_cpu_parts(self.facts))) if self.kind == "cpu" else words

    def differences(self, other: DeviceIdentity) -> tuple[str, ...]:
        """In what the other device differs, `what: here, there`; facts that one of them does not tell do not count."""
        pairs = [("kind", self.kind, other.kind), ("name", self.name, other.name)]
        found = [f"{words}: {here}, {there}" for words, here, there in pairs if here != there]
        for fact in _FACTS.get(self.kind, ()):
            here, there = self.facts.get(fact.name), other.facts.get(fact.name)
            if here is not None and there is not None and not _is_same(here, there, fact.tolerance):
                found.append(f"{fact.words}: {_shown(here, fact.unit)}, {_shown(there, fact.unit)}")
        return tuple(found)

    def untold(self, other: DeviceIdentity) -> tuple[str, ...]:
        """Facts that one of the two tells and the other does not, in words: they may differ in these."""
        facts = _FACTS.get(self.kind, ())
        return tuple(fact.words for fact in facts if (fact.name in self.facts) != (fact.name in other.facts))

    def as_dict(self) -> dict[str, Any]:
        """Plain types for a file; `identity_of` reads them."""
        return {"kind": self.kind, "name": self.name, **self.facts}


def identity_of(machine_info: Mapping[str, Any]) -> DeviceIdentity:
    """The identity that a result file's `machine_info` tells; of a file from before identities, what can be known."""
    stated = machine_info.get("identity")
    kind = _text(machine_info.get("device_kind")) or _UNKNOWN
    name = _text(machine_info.get("device")) or _text(machine_info.get("device_slug"))
    if isinstance(stated, Mapping):
        kind, name = _text(stated.get("kind")) or kind, _text(stated.get("name")) or name
    known = dict(stated) if isinstance(stated, Mapping) else _facts_of_older_file(machine_info)
    known.setdefault("num_threads", machine_info.get("torch_threads"))
    names = {fact.name for fact in _FACTS.get(kind, ())}
    facts = {key: value for key, value in known.items() if key in names and _is_value(value)}
    return DeviceIdentity(kind=kind, name=name, facts=facts)


def _facts_of_older_file(machine_info: Mapping[str, Any]) -> dict[str, Any]:
    """From pytest-benchmark's description of the CPU (its cache sizes are wrong) and from nvidia-smi's texts."""
    found = machine_info.get("cpu")
    cpu = found if isinstance(found, Mapping) else {}
    core: dict[str, Any] = {"vendor": cpu.get("vendor_id_raw"), "family": cpu.get("family"), "model": cpu.get("model")}
    core["stepping"] = cpu.get("stepping")
    known = {key: machine_info.get(key) for key in ("num_cpus", "total_memory_bytes", "device_memory_bytes")}
    known["driver_version"] = machine_info.get("nvidia_smi.driver_version")
    known["power_limit_w"] = number_in(machine_info.get("nvidia_smi.power.limit"))
    if isinstance(core["vendor"], str) and all(type(core[key]) is int for key in ("family", "model", "stepping")):
        known["microarchitecture"] = microarchitecture(**core)
    return known | core


def number_in(text: Any) -> float | None:
    """The number that a text such as `700.00 W` starts with; None if there is none."""
    match = re.match(r"\s*(\d+(?:\.\d+)?)", text) if isinstance(text, str) else None
    return float(match.group(1)) if match else None


def _cpu_parts(facts: Mapping[str, Value]) -> list[str]:
    """What a slug says besides the brand: design, cores, threads where they share cores, a quota below them."""
    parts = [str(facts["microarchitecture"])] if "microarchitecture" in facts else []
    num_cpus, num_cores = facts.get("num_cpus"), facts.get("num_cores")
    if num_cpus is not None:
        shares_cores = num_cores is not None and num_cores != num_cpus
        parts.append(f"{num_cores}c{num_cpus}t" if shares_cores else f"{num_cpus}c")
    quota = facts.get("cpu_quota")
    if isinstance(quota, int | float) and isinstance(num_cpus, int) and quota < num_cpus:
        parts.append(f"{round(1000 * quota)}m")
    return parts


def _plain_brand(name: str) -> str:
    """A CPU's brand without marks, core counts and clocks, which do not tell what is allowed here."""
    for noise in (r"\((?:R|TM|C)\)", r"\b\d+-Core\b", r"\bProcessor\b", r"\bCPU\b", r"@.*$"):
        name = re.sub(noise, " ", name, flags=re.IGNORECASE)
    return name


def _words(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unknown"


def _is_same(here: Value, there: Value, tolerance: float) -> bool:
    if isinstance(here, str | bool) or isinstance(there, str | bool):
        return here == there
    return math.isclose(here, there, rel_tol=max(tolerance, 1e-9))


def _shown(value: Value, unit: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if unit == "bytes" and isinstance(value, int | float):
        return f"{value / GIBI:.4g} GiB" if value >= GIBI else f"{value / 2**20:.4g} MiB"
    if unit == "Hz" and isinstance(value, int | float):
        return f"{value / GIGA:.4g} GHz"
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f"{shown} {unit}" if unit else shown


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _is_value(value: Any) -> bool:
    return isinstance(value, str | bool) or (isinstance(value, int | float) and abs(value) < _LARGEST)
