"""The verb `silicon`: where sparse decode attention pays on other people's GPUs, measured beside predicted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kinetics.cli.errors import one_line_errors

if TYPE_CHECKING:
    from kinetics.results.sparse_silicon import PairKind, SparsePair
    from kinetics.specs.hardware import Accelerator


def silicon(
    on: Annotated[str, typer.Option(help="Devices such as H200,B200; all that were measured by default.")] = "",
    framework: Annotated[str, typer.Option(help="Of vllm, sglang and trtllm; all by default.")] = "",
    pair: Annotated[str, typer.Option(help="dsa (DSA over MLA), msa (MSA over GQA), or both.")] = "dsa,msa",
    longest_fitted: Annotated[
        str, typer.Option(help="Predict from fits that saw no longer context; others than 16k need the tables.")
    ] = "16k",
    csv: Annotated[Path | None, typer.Option(help="Also write the crossovers of every batch to this file.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Also draw maps of batch and context into this file.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout, cells in seconds included.")
    ] = False,
) -> None:
    """Where sparse decode attention pays on real GPUs, as others measured it, beside our prediction.

    Both sides are one layer of production kernels, from the tables of the
    package aiconfigurator-core: read anew where it is installed, else from a
    copy of the cells needed here. A cell of the printed table is the context
    from which sparse is the faster one, measured/predicted. k is 1024 tokens;
    >128k: nowhere up to there; <512: from there on.
    """
    with one_line_errors():
        pairs = _pairs(on, framework, pair, longest_fitted)
        if csv is not None:
            from kinetics.files.atomic import write_text
            from kinetics.results.silicon_tables import crossover_table

            write_text(csv, crossover_table(pairs).as_csv())
        if figure is not None:
            from kinetics.report.figure_file import check_can_draw, save_figure
            from kinetics.report.sparse_silicon import draw_pairs

            check_can_draw()
            save_figure(draw_pairs(pairs), figure, dpi=130)
    if as_json:
        from kinetics.results.silicon_document import pairs_text

        typer.echo(pairs_text(pairs), nl=False)
    else:
        _print(pairs)


def _pairs(on: str, framework: str, kinds: str, longest_fitted: str) -> list[SparsePair]:
    """The pairs asked for.

    Raises: ValueError naming an option that is wrong, or what was measured if nothing was there.
    """
    from kinetics.prediction.silicon import FRAMEWORKS
    from kinetics.prediction.silicon_package import systems_folder
    from kinetics.results.silicon_document import committed_pairs
    from kinetics.results.silicon_pairs import LONGEST_FITTED
    from kinetics.results.silicon_tables import measured_where
    from kinetics.results.sparse_silicon import PairKind
    from kinetics.specs.counts import parse_count
    from kinetics.specs.hardware import ACCELERATORS, find_accelerator

    devices = [find_accelerator(name) for name in _listed(on)]
    frameworks = _among(framework, FRAMEWORKS, "--framework") or list(FRAMEWORKS)
    wanted = [PairKind(name) for name in _among(kinds, [kind.value for kind in PairKind], "--pair")] or list(PairKind)
    longest, folder = parse_count(longest_fitted), systems_folder()
    if folder is not None:
        found = list(_from_tables(folder, wanted, devices, frameworks, longest))
    elif longest != LONGEST_FITTED:
        raise ValueError("--longest-fitted must have tables to fit, got none; pip install aiconfigurator-core pyarrow")
    else:
        names = {device.name for device in devices}
        of_kind = [one for one in committed_pairs() if one.kind in wanted and one.framework in frameworks]
        found = [one for one in of_kind if not names or one.device in names]
    if not found:
        there = "; ".join(measured_where(committed_pairs(), wanted))
        raise ValueError(f"--on and --framework must name where a pair was measured, got none; measured: {there}")
    order = [device.name for device in ACCELERATORS]
    return sorted(found, key=lambda one: (wanted.index(one.kind), one.framework, order.index(one.device)))


def _from_tables(
    folder: Path, kinds: Sequence[PairKind], devices: Sequence[Accelerator], frameworks: Sequence[str], longest: int
) -> Iterator[SparsePair]:
    """Pairs read and fitted now, with progress on stderr."""
    from rich.console import Console

    from kinetics.prediction.silicon_fits import device_of, is_known_system
    from kinetics.results.silicon_pairs import measured_pairs

    known = sorted(path.name for path in (folder / "data").glob("*") if is_known_system(path.name))
    systems = [system for system in known if not devices or device_of(system) in devices]
    if not systems:
        return
    with Console(stderr=True).status("reading measured tables") as status:
        for kind in kinds:
            found = measured_pairs(folder, kind, systems=systems, frameworks=frameworks, longest_fitted=longest)
            for one in found:
                status.update(f"fitted {one.kind.value} of {one.framework} on {one.device}")
                yield one


def _print(pairs: Sequence[SparsePair]) -> None:
    from statistics import median

    from rich import box
    from rich.console import Console
    from rich.table import Table

    from kinetics.results.silicon_tables import agreement, reading_table
    from kinetics.specs.counts import short

    console = Console(highlight=False, markup=False)
    for kind in dict.fromkeys(one.kind for one in pairs):
        of_kind = [one for one in pairs if one.kind is kind]
        shown = reading_table(of_kind, f"{kind.title} pays from: measured/predicted")
        table = Table(*shown.columns, title=shown.name, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for row in shown.rows:
            table.add_row(*map(str, row))
        console.print(table)
        longest = max(one.longest_fitted for one in of_kind)
        found, far = agreement(of_kind), agreement(of_kind, longer_than=longest)
        beyond = f"; beyond {short(longest)}: {far.num_close} of {far.num_crossovers}" if far else ""
        console.print(f"{found}{beyond}" if found else "")
        share = median(cell.projections_s / cell.dense_s for one in of_kind for cell in one.cells)
        console.print(f"{share:.0%} of the dense side's time, its projections, are fits\n" if share else "")
    console.print(
        f"Source: {', '.join(dict.fromkeys(one.source for one in pairs))}, one layer; predictions from contexts up to "
        f"{short(max(one.longest_fitted for one in pairs))}. k is 1024; >: not up to there; <: from there on."
    )


def _among(text: str, known: Sequence[str], option: str) -> list[str]:
    names = _listed(text)
    for name in names:
        if name not in known:
            raise ValueError(f"{option} must be of {', '.join(known)}, got {name!r}")
    return names


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
