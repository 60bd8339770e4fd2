"""`kinetics plan`: what the benchmarks will hold and how long they will take on a GPU, before one is rented."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from kinetics.cli.errors import one_line_errors
from kinetics.specs.units import GIBI

if TYPE_CHECKING:
    from kinetics.measure.forecast import CellForecast

MOST_S = 540.0
"""What a run on a GPU may take by default (`--time-budget`)."""


def plan(
    on: Annotated[str, typer.Option("--on", help="A GPU as its data sheet names it.")] = "H100",
    grid: Annotated[str, typer.Option(help="smoke, quick or full.")] = "quick",
    provider: Annotated[str, typer.Option(help="Only these; all that run on a GPU if empty.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print every cell as JSON.")] = False,
) -> None:
    """What `pytest bench/` will hold and take on a GPU, cell by cell, before there is one.

    Memory is the run's own arithmetic on the data sheet's memory: which cells are refused, which peers make room.
    Time is an estimate from the data sheet's bandwidth and from assumed costs of the host (--json lists them); what
    does not measure a device, the law and AIME, is left out. Exit 1 if a cell that fits with our kernels alone is
    refused, or the estimate is beyond the default time budget.
    """
    with one_line_errors():
        document, cells = _forecast(on=on, grid=grid, providers=provider)
    if as_json:
        typer.echo(json.dumps(document, indent=1))
    else:
        _show(document, cells)
    if document["num_needless"] or document["total_s"] > MOST_S:
        raise typer.Exit(1)


def _forecast(*, on: str, grid: str, providers: str) -> tuple[dict[str, Any], list[CellForecast]]:
    from dataclasses import asdict

    from kinetics.bench.options import parse_providers
    from kinetics.cases.kernels import GridOptions, GridSize
    from kinetics.measure.forecast import HostCosts
    from kinetics.specs.hardware import find_accelerator
    from kinetics_kernels.providers import provider_names

    sizes = [size.value for size in GridSize]
    if grid not in sizes:
        raise ValueError(f"--grid must be one of {', '.join(sizes)}, got {grid!r}")
    device, host = find_accelerator(on), HostCosts()
    options = GridOptions(size=GridSize(grid), device_kind="cuda", dtype="bfloat16")
    names = parse_providers(providers) or provider_names()
    cells = _cells(options, names, device, host)
    asked = {name for name in names if name not in ("ours", "ours_fast") and not name.startswith(("torch_", "naive"))}
    fixed = {
        "start and ceilings": host.start_s,
        "peers tried in children": len(asked) * host.child_s,
        "Triton kernels": host.compile_s,
    }
    document = {
        "device": device.name,
        "memory_bytes": device.memory_bytes,
        "grid": grid,
        "providers": list(names),
        "assumed": asdict(host),
        "fixed_s": fixed,
        "total_s": sum(fixed.values()) + sum(one.total_s for one in cells),
        "num_cells": len(cells),
        "num_refused": sum(one.refused is not None for one in cells),
        "num_needless": sum(one.is_needless for one in cells),
        "cells": [_as_dict(one) for one in cells],
    }
    return document, cells


def _cells(options: Any, names: Sequence[str], device: Any, host: Any) -> list[CellForecast]:
    """The cells of the three benchmark files that measure a device, as they choose them."""
    from kinetics.cases.grids import attention_cases, by_cell, selection_cases
    from kinetics.cases.steps import step_cases
    from kinetics.measure.forecast import forecast_kernels, forecast_steps
    from kinetics_kernels.providers import providers_of

    able: Mapping[str, list[str]] = {
        operation: [one.name for one in providers_of(operation) if one.name in names]
        for operation in ("dense", "block_topk")
    }
    attention, selection = attention_cases(options, able), selection_cases(options)
    kernels = [*by_cell(attention), *(by_cell(selection) if "ours" in names else [])]
    steps = by_cell(step_cases(options)) if "ours" in names else []
    return [
        *(forecast_kernels(cell, cases, device, host) for cell, cases in kernels),
        *(forecast_steps(cell, cases, device, host) for cell, cases in steps),
    ]


def _as_dict(one: CellForecast) -> dict[str, Any]:
    return {
        "cell": _title(one),
        "num_cases": one.num_cases,
        "dropped": list(one.dropped),
        "num_buffers": one.num_buffers,
        "required_bytes": one.need.num_bytes,
        "refused": one.refused,
        "seconds": one.seconds,
    }


def _title(one: CellForecast) -> str:
    from kinetics.specs.counts import short

    cell = one.cell
    kind = "step" if hasattr(cell, "layer_counts") else "kernels"
    how = " graph" if cell.uses_cuda_graph else " eager"
    layout = f" {cell.kv_layout}" if hasattr(cell, "kv_layout") else ""
    warm = " warm" if cell.cache_state.value == "warm" else ""
    return f"{kind} {cell.model.name} b{cell.batch} c{short(cell.context_len)}{layout}{warm}{how}"


def _show(document: Mapping[str, Any], cells: Sequence[CellForecast]) -> None:
    from rich.table import Table

    table = Table(title=f"On {document['device']}")
    for heading in ("cell", "cases", "buffers", "holds GiB", "seconds", "left out"):
        table.add_column(heading, overflow="fold")
    for one in cells:
        left_out = one.refused or ", ".join(one.dropped)
        held = f"{one.need.num_bytes / GIBI:.1f}"
        table.add_row(_title(one), str(one.num_cases), str(one.num_buffers), held, f"{one.total_s:.1f}", left_out)
    console = Console()
    console.print(table)
    fixed = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in document["fixed_s"].items())
    needless = f", {document['num_needless']} of them though ours alone would fit"
    console.print(
        f"{document['num_cells']} cells, {document['num_refused']} refused{needless}; about "
        f"{document['total_s'] / 60:.1f} minutes ({fixed}; the host's part is assumed), at most {MOST_S / 60:.0f}",
        markup=False,
    )
