"""The verb `generate`: reads options, runs, prints. Remarks and progress go to stderr, the outcome to stdout."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from kinetics.cli.errors import ExitCode, ended
from kinetics.cli.option_class import fields_of, options_from
from kinetics.files.printable import printable
from kinetics.generate.request import EngineName, GenerateRequest, PolicyChoice, PromptChoice
from kinetics.specs.generation import RepetitionRule, SamplingSettings
from kinetics.specs.policies import BlockSummary, PolicyKind

if TYPE_CHECKING:
    from kinetics.generate.run import GenerateOutcome

API_KEY_VARIABLE = "OPENAI_API_KEY"
_LEAST: Final = {
    "--questions": ("num_questions", 0), "--kv-budget": ("kv_budget", 0), "--local": ("num_local", 0),
    "--sink-tokens": ("num_sink_tokens", 0), "--dense-layers": ("num_dense_layers", 0), "--page-size": ("page_size", 1),
    "--trials": ("num_trials", 1), "--max-new-tokens": ("max_new_tokens", 1),
    "--repetition-window": ("repetition_window", 0), "--batch": ("batch", 0), "--threads": ("num_threads", 0),
    "--workers": ("num_workers", 0),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOptions:
    """What can be said on the command line, in the order of `--help`; names are those of `GenerateRequest`."""

    model: Annotated[str, typer.Option(help="Hub id, folder, miniature, or the name a server knows it by.")]
    dataset: Annotated[str, typer.Option(help="aime24, aime25 or mini.")] = ""
    problems: Annotated[
        Path | None, typer.Option(help="Instead: JSONL, CSV or parquet with columns id, problem, answer.")
    ] = None
    num_questions: Annotated[int, typer.Option("--questions", help="Only the first so many; 0: all (32 of mini).")] = 0
    attention: Annotated[PolicyKind, typer.Option(help="Which keys a step attends.")] = PolicyKind.DENSE
    kv_budget: Annotated[int, typer.Option(help="Keys kept per KV head, the local ones included.")] = 0
    num_local: Annotated[int, typer.Option("--local", help="Last keys always kept.")] = 0
    summary: Annotated[
        BlockSummary | None, typer.Option(help="How block_topk scores a page: by its mean key, or by a bound (Quest).")
    ] = None
    num_sink_tokens: Annotated[
        int, typer.Option("--sink-tokens", help="First keys always kept on top of the budget.")
    ] = 0
    num_dense_layers: Annotated[int, typer.Option("--dense-layers", help="First layers that run dense.")] = 0
    page_size: Annotated[int, typer.Option(help="Tokens per page; a block is a page.")] = 16
    num_trials: Annotated[int, typer.Option("--trials", help="Answers to each question.")] = 1
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Cap of an answer; without: 30767 as in the paper, mini its own.")
    ] = None
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.6
    top_p: Annotated[float, typer.Option(help="Share of the probability kept; 1: all.")] = 0.95
    top_k: Annotated[int, typer.Option(help="Tokens kept; 0: all.")] = 20
    repetition_window: Annotated[
        int, typer.Option(help="Stop when so many last tokens are 4 or more copies of one stretch; 0: never.")
    ] = 512
    prompt: Annotated[PromptChoice, typer.Option(help="What stands around a problem.")] = PromptChoice.AUTO
    seed: Annotated[int, typer.Option(help="Every trial's own seed is derived from it.")] = 0
    batch: Annotated[int, typer.Option(help="Rows of every step, or requests at once; 0: 32 on a CPU, 64.")] = 0
    num_threads: Annotated[
        int, typer.Option("--threads", help="CPU threads of an engine; 0: all shared out, 1 if tiny.")
    ] = 0
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<index>.")] = "auto"
    out: Annotated[Path, typer.Option(help="Folder of the log.")] = Path("runs")
    resumes: Annotated[bool, typer.Option("--resume", help="Finish the samples that the log lacks.")] = False
    num_workers: Annotated[int, typer.Option("--workers", help="Engines in Ray actors; 0: one, here.")] = 0
    ray_address: Annotated[str, typer.Option(help="Of a running Ray cluster; without: this machine.")] = ""
    engine: Annotated[EngineName, typer.Option(help="openai: any server of that protocol.")] = EngineName.BUILTIN
    base_url: Annotated[str, typer.Option(help="The server's, such as http://localhost:8000/v1.")] = ""
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds until a server's answer counts as lost.")] = (
        1800.0
    )
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False

    def request(self, *, api_key: str = "") -> GenerateRequest:
        """What is asked for.

        Raises: ValueError naming the option whose value cannot be.
        """
        for flag, (name, least) in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{flag} must be at least {least}, got {value}")
        if not 0.0 < self.timeout_s < float("inf"):
            raise ValueError(f"--timeout must be a positive number of seconds, got {self.timeout_s}")
        return fields_of(
            GenerateRequest,
            self,
            choice=fields_of(PolicyChoice, self),
            sampling=fields_of(SamplingSettings, self),
            repetition=RepetitionRule(window=self.repetition_window) if self.repetition_window else None,
            api_key=api_key,
        )


@options_from(GenerateOptions)
def generate(options: GenerateOptions) -> None:
    """Generate graded AIME samples: a log that survives kill -9, and that `kinetics law --traces` reads."""
    from rich.console import Console

    from kinetics.generate.progress import SampleProgress
    from kinetics.generate.run import run_generate

    try:
        request = options.request(api_key=os.environ.get(API_KEY_VARIABLE, ""))
        with SampleProgress(Console(stderr=True)) as progress:
            outcome = run_generate(request, progress)
    except KeyboardInterrupt:
        message = "interrupted; finished samples are in the log, --resume makes the others"
        raise ended(message, ExitCode.INTERRUPTED) from None
    _print(outcome, as_json=options.as_json)
    if outcome.refused:
        raise typer.Exit(ExitCode.FOUND)


def _print(outcome: GenerateOutcome, *, as_json: bool) -> None:
    for remark in outcome.remarks:
        typer.echo(printable(remark), err=True)
    for refused in outcome.refused:
        typer.echo(printable(f"refused: {refused.key[0]} trial {refused.key[1]}: {refused.reason}"), err=True)
    if as_json:
        typer.echo(json.dumps(outcome.document, indent=1, allow_nan=False))
        return
    for key, value in outcome.document.items():
        typer.echo(f"{key}: {value:.4g}" if isinstance(value, float) else f"{key}: {value}")
