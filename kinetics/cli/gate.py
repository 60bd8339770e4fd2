"""The verbs `gate` and `gate self-test`: options in, a run of the gate, its tables, an exit code; computes nothing."""

from __future__ import annotations

import json
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from kinetics.cli.errors import ExitCode
from kinetics.cli.gate_bisect import bisect as find_commit
from kinetics.cli.option_types import count_option, device_option
from kinetics.files.atomic import check_can_write, to_strict, write_json, write_text
from kinetics.results.store import Document

if TYPE_CHECKING:
    from kinetics.gate.runs import GateRequest

_JUDGED_LAUNCHES = 5
_MAX_LAUNCHES = 200
_DEFAULT_MINUTES = 10.0
_MOST_MINUTES = 10_000
_MIN_WIDTH = 130

Device = Annotated[str, device_option("auto, cpu, cuda or cuda:<index>.", "--device")]
Grid = Annotated[str, typer.Option("--grid", help="gate: what CI runs; smoke: proves in seconds that all runs.")]
ResultsDir = Annotated[Path | None, typer.Option("--results-dir", help="Default: runs/ of the checkout.")]
Out = Annotated[Path | None, typer.Option("--out", help="Write the result file here.")]
Markdown = Annotated[Path | None, typer.Option("--markdown", help="Also write the table as Markdown here.")]
Bmf = Annotated[Path | None, typer.Option("--bmf", help="Also write Bencher Metric Format here.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result document on stdout instead of a table.")]


app = typer.Typer(invoke_without_command=True)


@app.callback()
def gate(
    context: typer.Context,
    base: Annotated[str, typer.Option(help="The revision to compare the working tree with.")] = "",
    baseline_file: Annotated[
        list[Path] | None,
        typer.Option(help="Compare with stored files (or a folder of them) instead; may be given several times."),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="With --base: go on asking about open cases for so long. Default: 10.")
    ] = None,
    launches: Annotated[
        int | None,
        count_option("With --base: at most, of a case; with files: of a look. Default: 200, 5.", least=1, most=2**16),
    ] = None,
    strict: Annotated[bool, typer.Option(help="Exit 5 if a verdict is AMBIGUOUS.")] = False,
    time_all: Annotated[
        bool, typer.Option("--time-all", help="Time cases of which the code is the same, too.")
    ] = False,
    bisect: Annotated[
        tuple[str, str, str] | None,
        typer.Option(metavar="GOOD BAD CASE", help="Find the commit instead: the same as the verb bisect."),
    ] = None,
    device: Device = "auto",
    grid: Grid = "gate",
    results_dir: ResultsDir = None,
    out: Out = None,
    markdown_file: Markdown = None,
    bmf_file: Bmf = None,
    as_json: Json = False,
) -> None:
    """Did this change make a kernel slower? Exit 0 no; 1 SLOW, WRONG, MISSING; 3 INVALID; 5 AMBIGUOUS with --strict."""
    from kinetics.gate.bencher_metrics import bencher_metrics
    from kinetics.gate.gate_file import told_verdicts
    from kinetics.gate.runs import gate_against_files, gate_in_lockstep
    from kinetics.gate.verdicts import exit_code

    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    if bisect:
        if base or baseline_file:
            raise ValueError("--bisect must be given alone, got --base or --baseline-file too; leave them out")
        find_commit(*bisect, device=device, grid=grid, as_json=as_json)
        return
    if bool(base) == bool(baseline_file):
        raise ValueError("gate must be given either --base REVISION or --baseline-file FILE, got both or neither")
    if minutes is not None and not (base and 0.0 < minutes < _MOST_MINUTES):
        raise ValueError(f"--minutes must be above 0 and below {_MOST_MINUTES}, and stand beside --base, got {minutes}")
    asked = launches or (_MAX_LAUNCHES if base else _JUDGED_LAUNCHES)
    request = replace(_request(device, grid, asked, results_dir, out), minutes=minutes or _DEFAULT_MINUTES)
    check_can_write(markdown_file)
    check_can_write(bmf_file)
    with _Termination():
        if base:
            document, path = gate_in_lockstep(replace(request, times_all=time_all), base=base, say=_ProgressLines())
        else:
            document, path = gate_against_files(request, files=baseline_file or [], say=_ProgressLines())
    if bmf_file:
        write_json(bmf_file, bencher_metrics(document))
    _show(document, path, markdown_file=markdown_file, as_json=as_json)
    raise typer.Exit(_lost_code(document) or exit_code(told_verdicts(document), is_strict=strict))


@app.command("self-test", epilog="Example: kinetics gate self-test --launches 20")
def self_test(
    launches: Annotated[int, count_option("At least 10; 20 make a usable estimate.", least=1, most=2**16)] = 20,
    base: Annotated[str, typer.Option(help="The revision that is compared with itself.")] = "HEAD",
    device: Device = "auto",
    grid: Grid = "gate",
    results_dir: ResultsDir = None,
    out: Out = None,
    markdown_file: Markdown = None,
    as_json: Json = False,
) -> None:
    """How often does the gate err on this machine, and what can it see? Compares a revision with itself."""
    from kinetics.gate.runs import run_self_test

    request = _request(device, grid, launches, results_dir, out)
    check_can_write(markdown_file)
    with _Termination():
        document, path = run_self_test(request, revision=base, say=_ProgressLines())
    _show(document, path, markdown_file=markdown_file, as_json=as_json)
    raise typer.Exit(_lost_code(document))


def _refuse_options(context: typer.Context) -> None:
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = [name for name, source in sources.items() if source is not None and source.name != "DEFAULT"]
    if given:
        flag = given[0].replace("_", "-")
        raise ValueError(f"options of {context.invoked_subcommand} must stand behind it, got --{flag} before; move it")


class _Termination:
    """Within it, a termination signal is an interruption: a cancelled CI job keeps its evidence, too."""

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGTERM, signal.default_int_handler)

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGTERM, self._before)


def _request(device: str, grid: str, launches: int, results_dir: Path | None, out: Path | None) -> GateRequest:
    from kinetics.gate.cases import GateGrid
    from kinetics.gate.runs import GateRequest

    names = [one.value for one in GateGrid]
    if grid not in names:
        raise ValueError(f"--grid must be one of {', '.join(names)}, got {grid!r}")
    check_can_write(out)
    return GateRequest(
        start=Path.cwd(),
        device=device,
        grid=GateGrid(grid),
        num_launches=launches,
        results_dir=results_dir.resolve() if results_dir else None,
        out=out.resolve() if out else None,
    )


class _ProgressLines:
    """Progress on stderr, with the seconds gone by: between measurements, never during one."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"[{time.monotonic() - self._started:4.0f} s] {text}", file=sys.stderr, flush=True)


def _lost_code(document: Document) -> int:
    """0 for a run that came to its end."""
    from kinetics.gate.session import INTERRUPTED

    if not document["lost"]:
        return 0
    return ExitCode.INTERRUPTED if document["lost"] == INTERRUPTED else ExitCode.INVALID


def _show(document: Document, path: Path, *, markdown_file: Path | None, as_json: bool) -> None:
    from kinetics.gate.tables import markdown, remarks, self_test_table, verdict_table

    if markdown_file:
        write_text(markdown_file, markdown(document))
    if as_json:
        print(json.dumps(to_strict(document), indent=1, allow_nan=False))
        return
    console = Console(highlight=False)
    console.width = max(console.width, _MIN_WIDTH)
    console.print(self_test_table(document) if "self_tests" in document else verdict_table(document))
    for remark in remarks(document):
        console.print(remark, markup=False)
    console.print(f"Result file: {path}", markup=False)
