"""The verbs about a machine: its ceilings, who can run there, how long something should take."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from kinetics.prediction.predict import Target

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of a table.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:<index>.")]


def probe(
    device: DeviceOption = "auto",
    dtype: Annotated[str, typer.Option(help="Of the matmul.")] = "",
    as_json: Json = False,
) -> None:
    """Measure this machine's ceilings: read, cached read and copy bandwidth, matmul rate, price of a launch."""
    from kinetics.machine.device import resolve_device
    from kinetics.machine.probe import probe as measure_ceilings
    from kinetics.specs.dtypes import parse_dtype

    resolved = resolve_device(device)
    with Console(stderr=True).status("measuring"):
        found = measure_ceilings(resolved, parse_dtype(dtype, resolved.kind), seconds_each=1.0)
    if as_json:
        _print_json({"device": resolved.name, "device_slug": resolved.slug, **found.as_dict()})
        return
    table = Table("ceiling", "best", "median", title=f"{resolved.name} ({resolved.slug})")
    for name, median in found.medians.items():
        table.add_row(name, f"{getattr(found.ceilings, name):.4g}", f"{median:.4g}")
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
    table = Table("provider", "operations", "version", "why not, and what to do", title=f"On {resolved.name}")
    for row in rows:
        table.add_row(row["provider"], ", ".join(row["operations"]), row["version"] or "-", escape(row["reason"] or ""))
    Console().print(table)


def predict(
    model: Annotated[str, typer.Option(help="Whose head shapes.")] = "qwen3_8b",
    operation: Annotated[
        str,
        typer.Option(
            help="One layer: dense, block_topk, append, score, select, search. "
            "A whole decode step: step_dense, step_block_topk, step_local."
        ),
    ] = "dense",
    batch: Annotated[str, typer.Option(help="Requests decoded together.")] = "1",
    context: Annotated[str, typer.Option(help="Keys attended, e.g. 32k.")] = "32k",
    kv_budget: Annotated[str, typer.Option(help="Tokens kept per KV head by sparse attention.")] = "1k",
    page_size: Annotated[int, typer.Option(help="Tokens per page.")] = 16,
    on: Annotated[str, typer.Option(help="`here` (probes this machine) or an accelerator such as H200.")] = "here",
    num_devices: Annotated[int, typer.Option(help="Tensor-parallel devices of a step.")] = 1,
    link_gb_per_s: Annotated[float | None, typer.Option(help="Of one device to the others, for several.")] = None,
    device: DeviceOption = "auto",
    as_json: Json = False,
) -> None:
    """Predict the seconds of one layer's decode attention or of a whole step, here or on a named accelerator."""
    from kinetics.prediction.predict import PredictedCase, data_sheet_target, predict_case
    from kinetics.specs.counts import parse_count
    from kinetics.specs.units import GIGA

    asked = PredictedCase(
        model=model,
        operation=operation,
        batch=parse_count(batch),
        context_len=parse_count(context),
        kv_budget=parse_count(kv_budget),
        page_size=page_size,
        num_devices=num_devices,
        link_bytes_per_s=None if link_gb_per_s is None else link_gb_per_s * GIGA,
    )
    predicted = predict_case(asked, _this_machine(device) if on == "here" else data_sheet_target(on))
    if as_json:
        _print_json(predicted)
        return
    table = Table("", "", title=f"{predicted['case']} on {predicted['device']}", show_header=False)
    for name, value in predicted.items():
        table.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
    Console().print(table)


def _this_machine(device: str) -> Target:
    """The device at hand, probed now."""
    from kinetics.machine.device import available_bytes, resolve_device
    from kinetics.machine.probe import probe as measure_ceilings
    from kinetics.prediction.predict import Target
    from kinetics.specs.dtypes import default_dtype

    resolved = resolve_device(device)
    dtype = default_dtype(resolved.kind)
    return Target(
        name=resolved.name,
        dtype=dtype,
        ceilings=measure_ceilings(resolved, dtype).ceilings,
        memory_bytes=available_bytes(resolved),
        source="measured now",
    )


def _print_json(document: dict[str, Any]) -> None:
    from kinetics.files.atomic import to_strict

    print(json.dumps(to_strict(document), indent=1, allow_nan=False))
