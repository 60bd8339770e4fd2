"""The verb `publish`: from a run of one's own to a published one that documents quote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kinetics.cli.errors import EXIT_INVALID, ended, one_line_errors
from kinetics.files.printable import printable

if TYPE_CHECKING:
    from kinetics.results.publishing import Doubt


def publish(
    run: Annotated[Path, typer.Argument(help="Result file of a run, such as runs/<device>/<run>.json.")],
    to: Annotated[Path, typer.Option(help="Folder of published results, in a checkout.")] = Path("results"),
    allow: Annotated[
        str, typer.Option(help="Publish in spite of these doubts, separated by commas, such as busy,dirty.")
    ] = "",
    quote: Annotated[bool, typer.Option(help="Make the documents' quotes anew from this run.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Publish a run: copy it with its tables and quote it in the documents, unless something speaks against it."""
    from kinetics.bench.quotes import Run, requote
    from kinetics.results.publishing import copy_run, objections, read_publishable

    with one_line_errors():
        allowed = _doubts(allow)
        document = read_publishable(run)
    refused = [found for found in objections(document) if found.doubt not in allowed]
    if refused:
        names = ",".join(dict.fromkeys(found.doubt.value for found in refused))
        reasons = "; ".join(map(str, refused))
        raise ended(f"{run} is not fit to be published: {reasons}; measure again, or --allow {names}", EXIT_INVALID)
    with one_line_errors():
        published = copy_run(run, document, to).resolve()
        quoted = requote(Run(document=document, path=published, root=to.resolve().parent)) if quote else {}
    if as_json:
        quotes = {str(path): names for path, names in quoted.items()}
        typer.echo(json.dumps({"published": str(published), "quotes": quotes}))
        return
    typer.echo(f"published: {printable(str(published))}")
    for path, made in quoted.items():
        typer.echo(f"quoted in {printable(str(path))}: {', '.join(made)}")
    typer.echo("Read what changed (git diff), then commit it: the run, its tables and the documents belong together.")


def _doubts(text: str) -> set[Doubt]:
    from kinetics.results.publishing import Doubt

    names = [part.strip() for part in text.split(",") if part.strip()]
    known = [doubt.value for doubt in Doubt]
    for name in names:
        if name not in known:
            raise ValueError(f"--allow must be among {', '.join(known)}, got {name!r}")
    return {Doubt(name) for name in names}
