"""The verb `gate bisect`: two revisions and a case in, the commit that made it slower out; computes nothing."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kinetics.cli.errors import ExitCode
from kinetics.cli.option_types import device_option
from kinetics.files.printable import printable

if TYPE_CHECKING:
    from kinetics.gate.bisect import Bisection


def bisect(
    good: Annotated[str, typer.Argument(help="A revision that is fast enough.")],
    bad: Annotated[str, typer.Argument(help="A later one that is too slow.")],
    case: Annotated[str, typer.Argument(help="The case, as kinetics gate names it.")],
    device: Annotated[str, device_option("auto, cpu, cuda or cuda:<index>.", "--device")] = "auto",
    grid: Annotated[str, typer.Option("--grid", help="gate or smoke: where the case stands.")] = "gate",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout instead of a table.")] = False,
) -> None:
    """Which commit made a case slower? Exit 0 found, 3 if commits that cannot be judged leave several."""
    from kinetics.gate.bisect_case import find_slow_commit
    from kinetics.gate.cases import GateGrid

    names = [one.value for one in GateGrid]
    if grid not in names:
        raise ValueError(f"--grid must be one of {', '.join(names)}, got {grid!r}")
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:4.0f} s] {printable(text)}", file=sys.stderr, flush=True)

    found, ratio = find_slow_commit(Path.cwd(), good, bad, case, device=device, grid=GateGrid(grid), say=say)
    typer.echo(_as_json(found, ratio) if as_json else _as_text(found, ratio))
    raise typer.Exit(ExitCode.FINE if found.first_bad else ExitCode.INVALID)


def _as_json(found: Bisection, ratio: float) -> str:
    judged = [
        {"commit": one.commit, "subject": one.subject, "answer": one.answer.name, "reason": one.reason}
        | {"is_timed": one.is_timed}
        for one in found.judged
    ]
    document = {"schema": 1, "first_bad": found.first_bad, "suspects": found.suspects, "ratio": ratio, "judged": judged}
    return json.dumps(document, indent=1, allow_nan=False)


def _as_text(found: Bisection, ratio: float) -> str:
    from kinetics.gate.bisect_case import timed_share
    from kinetics.tables.table import Table

    rows = tuple((one.commit[:7], one.answer.name, one.reason, one.subject) for one in found.judged)
    table = Table(name="commits", columns=("commit", "answer", "why", "subject"), rows=rows).as_text()
    if found.first_bad:
        end = f"{found.first_bad} is the first slow commit (BAD takes {ratio:.3f} times as long as GOOD)"
    else:
        end = "commits that cannot be judged leave: " + ", ".join(one[:7] for one in found.suspects)
    return f"{table}\n\n{timed_share(found.judged)}\n{end}"
