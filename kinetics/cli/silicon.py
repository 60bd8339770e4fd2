"""The verb `silicon`: where sparse decode attention pays on other people's GPUs, measured beside predicted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kinetics.cli.errors import one_line_errors

if TYPE_CHECKING:
    from kinetics.results.sparse_silicon import SparsePair


def silicon(
    on: Annotated[str, typer.Option(help="Devices such as H200,B200; all that were measured by default.")] = "",
    framework: Annotated[str, typer.Option(help="Of vllm, sglang and trtllm; all by default.")] = "",
    pair: Annotated[str, typer.Option(help="dsa (DSA over MLA), msa (MSA over GQA), or both.")] = "dsa,msa",
    longest_fitted: Annotated[
        str, typer.Option(help="Predict from fits that saw no longer context, such as 16k; needs the tables.")
    ] = "",
    figure: Annotated[Path | None, typer.Option(help="Also draw the maps into this file.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the measured cells as result files here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Where sparse decode attention pays on real GPUs, as others measured it, beside our prediction.

    Measured times come from the package aiconfigurator-core, where it is installed; without it, the crossovers that
    were found in it are printed, beside maps of predictions.
    """
    with one_line_errors():
        pairs, source = _pairs(on, framework, pair, longest_fitted)
        if figure is not None:
            from kinetics.report.predicted_steps import save_figure
            from kinetics.report.sparse_silicon import draw_pairs

            save_figure(draw_pairs(pairs, title="Sparse decode attention over dense, as measured"), figure)
        if out is not None:
            from kinetics.results.published_pairs import write_pairs

            for path in write_pairs(pairs, out, source=source):
                typer.echo(f"written: {path}", err=True)
        _print(pairs, source, as_json=as_json)


def _pairs(on: str, framework: str, kinds: str, longest_fitted: str) -> tuple[list[SparsePair], str]:
    """The pairs asked for, and where their times come from.

    Raises: ValueError naming an option that is wrong, or if nothing was measured there.
    """
    from kinetics.prediction.silicon import FRAMEWORKS
    from kinetics.prediction.silicon_package import package_version, systems_folder
    from kinetics.results.sparse_silicon import PairKind
    from kinetics.specs.counts import parse_count
    from kinetics.specs.hardware import find_accelerator

    devices = [find_accelerator(name) for name in _listed(on)]
    frameworks = _listed(framework) or list(FRAMEWORKS)
    for name in frameworks:
        if name not in FRAMEWORKS:
            raise ValueError(f"--framework must be of {', '.join(FRAMEWORKS)}, got {name!r}")
    known = [kind.value for kind in PairKind]
    for name in _listed(kinds):
        if name not in known:
            raise ValueError(f"--pair must be of {', '.join(known)}, got {name!r}")
    folder = systems_folder()
    if folder is None:
        if longest_fitted:
            raise ValueError("--longest-fitted must have tables to fit, got none; install aiconfigurator-core")
        found, source = _predicted(devices, frameworks), "predicted from committed fits"
    else:
        longest = parse_count(longest_fitted) if longest_fitted else None
        found = _measured(folder, devices, frameworks, longest)
        source = f"aiconfigurator-core {package_version()} (NVIDIA, Apache-2.0)"
    found = [one for one in found if one.kind.value in _listed(kinds)]
    if not found:
        raise ValueError("a device and framework must have a measured pair, got none that has; leave --on out for all")
    return found, source


def _measured(folder: Path, devices: Sequence[Any], frameworks: list[str], longest: int | None) -> list[SparsePair]:
    from rich.console import Console

    from kinetics.prediction.silicon_fits import device_of, is_known_system
    from kinetics.results.silicon_pairs import measured_pairs

    systems = sorted(path.name for path in (folder / "data").iterdir() if is_known_system(path.name))
    wanted = [system for system in systems if not devices or device_of(system) in devices]
    if not wanted:
        return []
    with Console(stderr=True).status("reading measured tables"):
        return list(measured_pairs(folder, systems=wanted, frameworks=frameworks, longest_fitted=longest))


def _predicted(devices: Sequence[Any], frameworks: list[str]) -> list[SparsePair]:
    from kinetics.prediction.silicon import measured_devices
    from kinetics.results.silicon_pairs import predicted_pairs
    from kinetics.specs.hardware import find_accelerator

    every = [find_accelerator(name) for name in measured_devices()]
    return list(predicted_pairs(devices or every, frameworks))


def _print(pairs: list[SparsePair], source: str, *, as_json: bool) -> None:
    from kinetics.files.atomic import to_strict
    from kinetics.results.silicon_tables import CROSSOVER_COLUMNS, committed_crossovers, crossover_table
    from kinetics.tables.display import table_for_people, table_records

    table = crossover_table(pairs)
    if as_json:
        document = {"schema": 1, "source": source, "crossovers": table_records(table)}
        typer.echo(json.dumps(to_strict(document), indent=1, allow_nan=False))
        return
    typer.echo(table_for_people(table, CROSSOVER_COLUMNS).as_text())
    typer.echo(f"\nSource of measured times: {source}.")
    if all(cell.measured is None for one in pairs for cell in one.cells):
        typer.echo("\nMeasured, as found in aiconfigurator-core 0.12.0 (not installed here):\n")
        typer.echo(table_for_people(committed_crossovers(pairs), CROSSOVER_COLUMNS).as_text())


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
