"""The `kinetics` command: one verb per question. Reads options, calls the rooms, prints; computes nothing itself."""

from __future__ import annotations

from typing import Annotated

import typer

from kinetics import __version__
from kinetics.cli import (
    bench,
    compare,
    gate,
    gate_bisect,
    gate_trend,
    generate,
    law,
    machine,
    mini,
    plan,
    predict,
    publish,
    silicon,
    validate,
)
from kinetics.cli.errors import Verbs

app = typer.Typer(
    name="kinetics",
    cls=Verbs,
    help="What test-time scaling costs: predicted from first principles, measured on this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"kinetics {__version__}")
        raise typer.Exit


@app.callback()
def kinetics(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """What test-time scaling costs: predicted from first principles, measured on this machine."""


app.command(
    epilog="Example: kinetics bench test_decode_attention.py --model qwen3_8b --context 4k,32k",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(bench.bench)
app.command(epilog="Example: kinetics recover runs")(bench.recover)
app.command(epilog="Example: kinetics probe --device cpu --json")(machine.probe)
app.command(epilog="Example: kinetics providers --device cuda --json")(machine.providers)
app.command(epilog="Example: kinetics plan --on H100 --provider ours,torch_sdpa")(plan.plan)
app.command(epilog="Example: kinetics silicon --on H200,B200 --framework vllm")(silicon.silicon)
app.command(
    epilog="Example: kinetics predict --model deepseek-ai/DeepSeek-V3.2 --on H200,B200,GB300 --batch 64 --context 32k "
    "--tp 8"
)(predict.predict)
app.command(epilog="Example: kinetics cost --model Qwen3-8B --attention block_topk --kv-budget 1024 --block-size 16")(
    law.cost
)
app.command(epilog="Example: kinetics coverage --samples 32 --correct 4 --trials 8")(law.coverage)
app.command(epilog="Example: echo 'so \\boxed{204}' | kinetics grade --gold 204")(law.grade)
app.command(epilog="Example: kinetics law samples.csv --on H200")(law.law)
app.command(epilog="Example: kinetics generate --model mini-200k --dataset mini --attention block_topk --kv-budget 64")(
    generate.generate
)
app.command(epilog="Example: kinetics validate --operation attention --on H200 --split beyond")(validate.validate)
app.add_typer(gate.app, name="gate", epilog="Example: kinetics gate --base origin/main --markdown verdicts.md")
gate.app.command(epilog="Example: kinetics gate bisect v0.1.0 HEAD dense-ours-qwen3_8b-b1-c8k-p16")(gate_bisect.bisect)
gate.app.command(epilog="Example: kinetics gate trend runs/cpu-amd-epyc-zen4-2c")(gate_trend.trend)
app.command("aa", hidden=True, epilog="Example: kinetics gate self-test --launches 20")(gate.self_test)
app.add_typer(mini.app, name="mini")
app.command(epilog="Example: kinetics compare results/cpu-amd-epyc-2c/*.json results/published/*.json")(compare.compare)
app.command(epilog="Example: kinetics import-latencies latencies.csv --model qwen3_8b --batch 1,4 --context 1k,8k,32k")(
    compare.import_latencies
)
app.command(epilog="Example: kinetics report results/*/*.json --out report.html")(compare.report)
app.command(epilog="Example: kinetics publish runs/cpu-amd-epyc-zen5-2c/20261128T120000Z_0123456_quick_4711.json")(
    publish.publish
)


def main() -> None:
    """Run the command."""
    app(prog_name="kinetics")
