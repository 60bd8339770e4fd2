"""The verb `generate`: reads options, runs, prints. Remarks and progress go to stderr, the outcome to stdout."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kinetics.cli.errors import ExitCode, ended
from kinetics.cli.option_class import fields_of, options_from
from kinetics.cli.option_types import count_option, device_option, number_option, seed_option
from kinetics.files.printable import printable
from kinetics.generate.request import EngineName, GenerateRequest, PolicyChoice, PromptChoice
from kinetics.specs.generation import RepetitionRule, SamplingSettings
from kinetics.specs.policies import BlockSummary, PolicyKind

if TYPE_CHECKING:
    from kinetics.generate.run import GenerateOutcome

API_KEY_VARIABLE = "OPENAI_API_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOptions:
    """What can be said on the command line, in the order of `--help`; names are those of `GenerateRequest`."""

    model: Annotated[str, typer.Option(help="Hub id, folder, miniature, or the name a server knows it by.")]
    dataset: Annotated[
        str, typer.Option(help="aime24, aime25, aime26, hmmt25, amc23, math500, mini, or ORG/NAME:SPLIT of the hub.")
    ] = ""
    problems: Annotated[
        Path | None, typer.Option(help="Instead: JSONL, CSV or parquet with columns id, problem, answer.")
    ] = None
    num_questions: Annotated[int, count_option("Only the first so many; 0: all (32 of mini).", "--questions")] = 0
    attention: Annotated[PolicyKind, typer.Option(help="Which keys a step attends.")] = PolicyKind.DENSE
    kv_budget: Annotated[int, count_option("Keys kept per KV head, the local ones included.")] = 0
    num_local: Annotated[int, count_option("Last keys always kept.", "--local")] = 0
    summary: Annotated[
        BlockSummary | None, typer.Option(help="How block_topk scores a page: by its mean key, or by a bound (Quest).")
    ] = None
    num_sink_tokens: Annotated[
        int | None,
        count_option("First keys kept on top of the budget; without: a page for block_topk, local.", "--sink-tokens"),
    ] = None
    num_dense_layers: Annotated[int, count_option("First layers that run dense.", "--dense-layers")] = 0
    page_size: Annotated[int, count_option("Tokens per page; a block is a page.", least=1, most=2**16)] = 16
    num_trials: Annotated[int, count_option("Answers to each question.", "--trials", least=1, most=2**16)] = 1
    max_new_tokens: Annotated[
        int | None, count_option("Cap of an answer; without: 30767 as in the paper, mini its own.", least=1, most=2**24)
    ] = None
    temperature: Annotated[float, number_option("0 is greedy.", most=100.0)] = 0.6
    top_p: Annotated[float, number_option("Share of the probability kept; 1: all.", most=1.0, is_above=True)] = 0.95
    top_k: Annotated[int, count_option("Tokens kept; 0: all.")] = 20
    repetition_window: Annotated[
        int, count_option("Stop when so many last tokens are 4 or more copies of one stretch; 0: never.")
    ] = 512
    prompt: Annotated[PromptChoice, typer.Option(help="What stands around a problem.")] = PromptChoice.AUTO
    seed: Annotated[int, seed_option("Every trial's own seed is derived from it.")] = 0
    batch: Annotated[int, count_option("Rows of every step, or requests at once; 0: 32 on a CPU, 64.", most=2**16)] = 0
    num_threads: Annotated[
        int, count_option("CPU threads of an engine; 0: all shared out, 1 if tiny.", "--threads", most=1024)
    ] = 0
    device: Annotated[str, device_option("auto, cpu, cuda or cuda:<index>.")] = "auto"
    dtype: Annotated[
        str, typer.Option(help="Of the weights: fp32 or bf16 on a CPU; without: the faster, if they are bf16.")
    ] = ""
    out: Annotated[Path, typer.Option(help="Folder of the log.")] = Path("runs")
    resumes: Annotated[bool, typer.Option("--resume", help="Finish the samples that the log lacks.")] = False
    num_workers: Annotated[int, count_option("Engines in Ray actors; 0: one, here.", "--workers", most=1024)] = 0
    ray_address: Annotated[str, typer.Option(help="Of a running Ray cluster; without: this machine.")] = ""
    engine: Annotated[EngineName, typer.Option(help="openai: any server of that protocol.")] = EngineName.BUILTIN
    base_url: Annotated[str, typer.Option(help="The server's, such as http://localhost:8000/v1.")] = ""
    architecture: Annotated[
        str, typer.Option(help="What a server's model is: a known model, a config.json, or none: nothing has a cost.")
    ] = ""
    timeout_s: Annotated[
        float, number_option("Seconds until a server's answer counts as lost.", "--timeout", is_above=True)
    ] = 1800.0
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False

    def request(self, *, api_key: str = "") -> GenerateRequest:
        """What is asked for."""
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
    from kinetics.tables.document import document_lines

    typer.echo("\n".join(document_lines(outcome.document)))
