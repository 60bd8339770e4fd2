"""The ceilings of logs: one set for each device that made some of them, the best that any of its logs has seen.

Every log carries a short probe of its own, and a busy moment lowers it severalfold. Ceilings are the device's: rates
only ever look too low, so the best of all logs of one device and dtype is used for each of them, and all are listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

from kinetics.samples.log_reader import TraceFile
from kinetics.specs.ceilings import Ceilings
from kinetics.specs.identity import DeviceIdentity, identity_of
from kinetics.tables.table import Table

MAX_SPREAD: Final = 1.5
"""Probes of one device that differ by more were not of the same device in the same state."""
BEST: Final = "best seen"
_NAMES: Final = tuple(field.name for field in fields(Ceilings))
_TIMES: Final = frozenset({"launch_s"})


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCeilings:
    """What the logs of one device saw of it, by the logs' labels; products are timed in `dtype`."""

    identity: DeviceIdentity
    dtype: str
    seen: Mapping[str, Ceilings]

    @property
    def best(self) -> Ceilings:
        """The best of each ceiling."""
        found = {name: [getattr(one, name) for one in self.seen.values()] for name in _NAMES}
        return Ceilings(**{name: (min if name in _TIMES else max)(values) for name, values in found.items()})

    def spreads(self) -> Iterator[tuple[str, float, str]]:
        """Of each ceiling that logs disagree about: its name, the largest over the smallest, and the worst log."""
        for name in _NAMES:
            of_log = {label: float(getattr(one, name)) for label, one in self.seen.items()}
            worst = (max if name in _TIMES else min)(of_log, key=lambda label: of_log[label])
            spread = max(of_log.values()) / min(of_log.values())
            if spread > MAX_SPREAD:
                yield name, spread, worst


def ceilings_of_devices(files: Sequence[TraceFile]) -> list[DeviceCeilings]:
    """The logs that carry ceilings, by the device and dtype that they are of."""
    found: list[DeviceCeilings] = []
    for file in files:
        header = file.header
        if not header.machine.get("ceilings"):
            continue
        own = {file.samples.label: Ceilings(**header.machine["ceilings"])}
        identity, dtype = identity_of(header.machine), str(header.engine.get("dtype", ""))
        for i, device in enumerate(found):
            if device.dtype == dtype and not device.identity.differences(identity):
                found[i] = DeviceCeilings(identity=device.identity, dtype=dtype, seen={**device.seen, **own})
                break
        else:
            found.append(DeviceCeilings(identity=identity, dtype=dtype, seen=own))
    return found


def ceilings_by_label(devices: Sequence[DeviceCeilings]) -> dict[str, Ceilings]:
    """What each log, by its label, is priced by."""
    return {label: best for device in devices for best in [device.best] for label in device.seen}


def ceiling_table(devices: Sequence[DeviceCeilings]) -> Table:
    """Every log's own ceilings, and below those of a device the best, which all of its logs are priced by."""
    rows = tuple(
        (device.identity.title, device.dtype, label, *(getattr(one, name) for name in _NAMES))
        for device in devices
        for label, one in (*device.seen.items(), (BEST, device.best))
    )
    return Table(name="ceilings", columns=("device", "dtype", "log", *_NAMES), rows=rows)


def ceiling_remarks(devices: Sequence[DeviceCeilings]) -> list[str]:
    """Logs of several devices, and logs of one that were told unlike ceilings: a line each."""
    remarks = [_unlike(devices[0], other) for other in devices[1:]]
    for device in devices:
        for name, spread, worst in device.spreads():
            remarks.append(
                f"logs of {device.identity.title} saw unlike ceilings: {name} differs {spread:.1f} times, worst in "
                f"{worst}; all are priced by the best seen, but measured seconds of a busy machine stay too long: "
                "make that log anew on a quiet one"
            )
    return remarks


def _unlike(one: DeviceCeilings, other: DeviceCeilings) -> str:
    differences = [*one.identity.differences(other.identity)]
    if one.dtype != other.dtype:
        differences.append(f"dtype: {one.dtype}, {other.dtype}")
    return (
        f"logs of unlike devices in one report: {next(iter(one.seen))} and {next(iter(other.seen))} differ in "
        f"{'; '.join(differences)}; seconds are each device's own, compare eFLOP alone or make one report a device"
    )
