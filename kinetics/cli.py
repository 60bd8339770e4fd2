"""The `kinetics` command: one verb per question. Reads options, calls the rooms, prints; computes nothing itself."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kinetics.commands import compare, gate, generate, law, mini

app = typer.Typer(
    name="kinetics",
    help="What test-time scaling costs: predicted from first principles, measured on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of a table.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:<index>.")]

EXIT_USAGE = 2


app.command(epilog="Example: kinetics cost --model Qwen3-8B --attention block_topk --kv-budget 1024 --block-size 16")(
    law.cost
)
app.command(epilog="Example: kinetics coverage --samples 32 --correct 4 --trials 8")(law.coverage)
app.command(epilog="Example: echo 'so \\boxed{204}' | kinetics grade --gold 204")(law.grade)
app.command(epilog="Example: kinetics law, or kinetics law runs/aime24/dense.jsonl")(law.law)
app.command(
    epilog="Example: kinetics generate --model Qwen/Qwen3-0.6B --dataset aime24 --attention block_topk "
    "--kv-budget 1024 --trials 8"
)(generate.generate)
app.command(epilog="Example: kinetics validate latencies.csv --json")(law.validate)
app.command(epilog="Example: kinetics gate --base origin/main --markdown verdicts.md")(gate.gate)
app.command(epilog="Example: kinetics aa --launches 20")(gate.aa)
app.add_typer(mini.app, name="mini")
app.command(epilog="Example: kinetics compare results/cpu-amd-epyc-2c/*.json results/published/*.json")(compare.compare)
app.command(epilog="Example: kinetics import-latencies latencies.csv --model qwen3_8b --batch 1,4 --context 1k,8k,32k")(
    compare.import_latencies
)
app.command(epilog="Example: kinetics report results/*/*.json --out report.html")(compare.report)


def main() -> None:
    """Run the command; a wrong value ends it with one line on stderr and exit code 2."""
    try:
        app()
    except ValueError as error:
        print(f"kinetics: {error}", file=sys.stderr)
        sys.exit(EXIT_USAGE)


@app.command(epilog="Example: kinetics probe --device cpu --json")
def probe(
    device: DeviceOption = "auto",
    dtype: Annotated[str, typer.Option(help="Of the matmul.")] = "",
    as_json: Json = False,
) -> None:
    """Measure this machine's ceilings: read, cached read and copy bandwidth, matmul rate, price of a launch."""
    from kinetics.bench.options import parse_dtype
    from kinetics.environment import resolve_device
    from kinetics.probe import probe as measure_ceilings

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


@app.command(epilog="Example: kinetics providers --device cuda --json")
def providers(device: DeviceOption = "auto", as_json: Json = False) -> None:
    """List who can run decode attention here, who cannot and why, and how to install it."""
    from kinetics.environment import resolve_device
    from kinetics_kernels.providers import find_provider, provider_names

    resolved = resolve_device(device)
    rows: list[dict[str, Any]] = []
    for provider in (find_provider(name) for name in provider_names()):
        reason = provider.unavailable_reason(resolved.kind)
        version = provider.version() if reason is None else None
        rows.append(
            {"provider": provider.name, "operations": list(provider.operations), "version": version, "reason": reason}
        )
    if as_json:
        _print_json({"device": resolved.name, "providers": rows})
        return
    table = Table("provider", "operations", "version", "why not, and what to do", title=f"On {resolved.name}")
    for row in rows:
        table.add_row(row["provider"], ", ".join(row["operations"]), row["version"] or "-", escape(row["reason"] or ""))
    Console().print(table)


@app.command(
    epilog="Example: kinetics predict --model qwen3_8b --operation block_topk --batch 8 --context 32k --on H200"
)
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
    from kinetics.grid import parse_count
    from kinetics.predict import PredictedCase, predict_case
    from kinetics.units import GIGA

    asked = PredictedCase(
        model=model, operation=operation, batch=parse_count(batch), context_len=parse_count(context),
        kv_budget=parse_count(kv_budget), page_size=page_size, num_devices=num_devices,
        link_bytes_per_s=None if link_gb_per_s is None else link_gb_per_s * GIGA,
    )  # fmt: skip
    predicted = predict_case(asked, on=on, device=device)
    if as_json:
        _print_json(predicted)
        return
    table = Table("", "", title=f"{predicted['case']} on {predicted['device']}", show_header=False)
    for name, value in predicted.items():
        table.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
    Console().print(table)


def _print_json(document: dict[str, Any]) -> None:
    from kinetics.records import to_strict

    print(json.dumps(to_strict(document), indent=1, allow_nan=False))
