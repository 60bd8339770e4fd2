"""Cards of the devices: what each is, what tells it from its namesakes, how fast it is, and what disturbed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kinetics.results.reader import Origin, ResultFile
from kinetics.specs.units import GIGA, format_seconds
from kinetics.tables.quantity import Quantity, byte_size, show, tell

_CEILINGS: Final = (
    ("memory read", "read_bytes_per_s", Quantity.BYTES_PER_S),
    ("read from cache", "cached_read_bytes_per_s", Quantity.BYTES_PER_S),
    ("copy", "copy_bytes_per_s", Quantity.BYTES_PER_S),
    ("matrix product", "matmul_flop_per_s", Quantity.FLOP_PER_S),
)
_WATCHED: Final = ("others_cpu_share", "device_complaint", "disturbed")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCard:
    """What a card says. Pairs are (name, value). `company`: whether anything disturbed the run, in words.

    `unlike`: in what the device differs from an earlier one of its name.
    """

    label: str
    color: str
    origin: str
    identity: tuple[tuple[str, str], ...]
    ceilings: tuple[tuple[str, str], ...]
    ceiling_kind: str
    run: tuple[tuple[str, str], ...]
    company: str
    is_disturbed: bool
    unlike: tuple[str, ...]
    notes: tuple[str, ...]


def device_cards(files: Sequence[ResultFile], colors: Sequence[str]) -> list[DeviceCard]:
    """One card a file, in order."""
    return [_card(file, files[:index], color) for index, (file, color) in enumerate(zip(files, colors, strict=True))]


def _card(file: ResultFile, earlier: Sequence[ResultFile], color: str) -> DeviceCard:
    num_disturbed = sum(bool(row.fields.get("disturbed")) for row in file.rows)
    return DeviceCard(
        label=file.label,
        color=color,
        origin=file.origin.value,
        identity=tuple(_identity(file)),
        ceilings=tuple(_ceilings(file)),
        ceiling_kind=file.ceiling_kind,
        run=tuple((name, value) for name, value in _run(file) if value),
        company=_company(file, num_disturbed),
        is_disturbed=num_disturbed > 0,
        unlike=_unlike(file, earlier),
        notes=file.notes,
    )


def _identity(file: ResultFile) -> list[tuple[str, str]]:
    """The facts that change times, those that are known; unknown ones are named in the notes."""
    facts = file.identity.facts
    known = [
        ("family", facts.get("microarchitecture") or _family(file)),
        ("cores", facts.get("num_cores")),
        ("CPUs", _cpus(file)),
        ("threads", facts.get("num_threads")),
        ("memory", _size(facts.get("device_memory_bytes") or facts.get("total_memory_bytes"))),
        ("L3", _size(facts.get("l3_bytes"))),
        ("virtual machine", facts.get("is_virtual")),
        ("power limit", f"{facts['power_limit_w']} W" if "power_limit_w" in facts else None),
        ("highest SM clock", _clock(facts.get("max_sm_clock_hz"))),
        ("driver", facts.get("driver_version")),
        ("share of a GPU", "MIG" if facts.get("uuid_class") == "MIG" else None),
    ]
    return [(name, show(value, Quantity.COUNT)) for name, value in known if value not in (None, "")]


def _family(file: ResultFile) -> str:
    facts = file.identity.facts
    return f"{facts['vendor']} {facts['family']}" if "vendor" in facts and "family" in facts else ""


def _cpus(file: ResultFile) -> str:
    """CPUs that the process may use, several of which may be one core, and the share that a quota leaves of them."""
    cpus, quota = file.identity.facts.get("num_cpus"), file.identity.facts.get("cpu_quota")
    if cpus is None:
        return ""
    return f"{cpus}" + (f", quota {quota:g}" if isinstance(quota, float | int) and quota != cpus else "")


def _size(value: object) -> str | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return byte_size(float(value)) if is_number else None  # type: ignore[arg-type]


def _clock(value: object) -> str | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{float(value) / GIGA:.3g} GHz" if is_number else None  # type: ignore[arg-type]


def _ceilings(file: ResultFile) -> list[tuple[str, str]]:
    known = file.ceilings
    found = [(name, tell(known[key], quantity)) for name, key, quantity in _CEILINGS if key in known]
    if "launch_s" in known:
        found.append(("one launch", format_seconds(known["launch_s"])))
    if file.origin is Origin.MEASURED and file.data_sheet_bytes_per_s and "read_bytes_per_s" in known:
        share = known["read_bytes_per_s"] / file.data_sheet_bytes_per_s
        found.append(("memory read, of data sheet", show(share, Quantity.SHARE)))
    return found


def _run(file: ResultFile) -> list[tuple[str, str]]:
    rows = show(len(file.rows), Quantity.COUNT) + (f", {len(file.left_out)} left out" if file.left_out else "")
    versions = [f"{name} {file.versions[name]}" for name in ("torch", "triton", "numba") if name in file.versions]
    return [
        ("rows", rows),
        ("started", file.started_utc),
        ("commit", file.commit[:7]),
        ("grid", file.grid),
        ("source", file.source),
        ("software", ", ".join(versions)),
        ("file", file.path.name),
    ]


def _company(file: ResultFile, num_disturbed: int) -> str:
    if file.origin is Origin.PUBLISHED:
        return "Published by others: not measured or proved by this suite."
    first = next((row for row in file.rows if row.fields.get("disturbed")), None)
    if first is not None:
        reason = first.fields["disturbed"]
        return f"{num_disturbed} of {len(file.rows)} rows were disturbed, such as {first.label}: {reason}."
    if any(row.fields.get(name) is not None for row in file.rows for name in _WATCHED):
        return "Nothing disturbed the rows."
    return "The file does not tell whether anything disturbed its rows."


def _unlike(file: ResultFile, earlier: Sequence[ResultFile]) -> tuple[str, ...]:
    """In what it differs from each earlier device of its name: nothing else tells them apart."""
    namesakes = [one for one in earlier if one.identity.name == file.identity.name]
    pairs = [(one, one.identity.differences(file.identity)) for one in namesakes]
    return tuple(f"unlike {one.letter}: {'; '.join(found)}" for one, found in pairs if found)
