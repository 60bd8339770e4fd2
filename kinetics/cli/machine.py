"""The verbs about a machine: its ceilings, who can run there, how long something should take."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kinetics.cli.option_types import device_option

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of a table.")]
DeviceOption = Annotated[str, device_option("auto, cpu, cuda or cuda:<index>.", "--device")]


def probe(
    device: DeviceOption = "auto",
    dtype: Annotated[str, typer.Option(help="Of the matmul.")] = "",
    as_json: Json = False,
) -> None:
    """Measure this machine's ceilings: read, cached read and copy bandwidth, matmul rate, price of a launch."""
    from kinetics.machine.device import resolve_device
    from kinetics.machine.probe import probe as measure_ceilings
    from kinetics.specs.dtypes import parse_dtype
    from kinetics.tables.document import labelled

    resolved = resolve_device(device)
    with Console(stderr=True).status("measuring"):
        found = measure_ceilings(resolved, parse_dtype(dtype, resolved.kind), seconds_each=1.0)
    if as_json:
        _print_json({"device": resolved.name, "device_slug": resolved.slug, **found.as_dict()})
        return
    table = Table("ceiling", "best", "median", title=f"{resolved.name} ({resolved.slug})")
    for name, median in found.medians.items():
        label, best = labelled(name, getattr(found.ceilings, name))
        table.add_row(label, best, labelled(name, median)[1])
    Console().print(table)


def providers(device: DeviceOption = "auto", as_json: Json = False) -> None:
    """List who can run decode attention here, who cannot and why, and how to install it."""
    from kinetics.machine.device import resolve_device
    from kinetics_kernels.providers import find_provider, provider_names

    resolved = resolve_device(device)
    rows: list[dict[str, Any]] = []
    for provider in (find_provider(name) for name in provider_names()):
        unavailable = provider.unavailable_on(resolved.kind)
        rows.append(
            {
                "provider": provider.name,
                "distribution": provider.distribution,
                "operations": list(provider.operations),
                "version": None if unavailable else provider.version(),
                "reason": unavailable and unavailable.reason,
            }
        )
    if as_json:
        _print_json({"device": resolved.name, "providers": rows})
        return
    table = Table(title=f"On {resolved.name}")
    for heading in ("provider", "operations", "version", "why not, and what to do"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(row["provider"], ", ".join(row["operations"]), row["version"] or "-", escape(row["reason"] or ""))
    Console().print(table)


def _print_json(document: dict[str, Any]) -> None:
    from kinetics.files.atomic import to_strict

    print(json.dumps(to_strict(document), indent=1, allow_nan=False))
