"""The verb `generate`: reads options, runs, prints. Remarks and progress go to stderr, the outcome to stdout."""

from __future__ import annotations

import json
import os
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from kinetics.cli.errors import EXIT_USAGE, ended
from kinetics.files.printable import printable
from kinetics.specs.policies import BlockSummary, PolicyKind

EXIT_LOST = 1
API_KEY_VARIABLE = "OPENAI_API_KEY"


class Engine(Enum):
    """Who generates."""

    BUILTIN = "builtin"
    OPENAI = "openai"


class Prompt(Enum):
    """What is put around a problem; `auto`: the paper's instruction, but nothing for the miniature."""

    AUTO = "auto"
    PAPER = "paper"
    PLAIN = "plain"


def generate(
    model: Annotated[str, typer.Option(help="Hub id, folder, miniature, or the name a server knows it by.")],
    dataset: Annotated[str, typer.Option(help="aime24, aime25 or mini.")] = "",
    problems: Annotated[
        Path | None, typer.Option(help="Instead: JSONL, CSV or parquet with columns id, problem, answer.")
    ] = None,
    questions: Annotated[int, typer.Option(help="Only the first so many; 0: all (32 of mini).")] = 0,
    attention: Annotated[PolicyKind, typer.Option(help="Which keys a step attends.")] = PolicyKind.DENSE,
    kv_budget: Annotated[int, typer.Option(help="Keys kept per KV head, the local ones included.")] = 0,
    local: Annotated[int, typer.Option(help="Last keys always kept.")] = 0,
    summary: Annotated[
        BlockSummary | None, typer.Option(help="How block_topk scores a page: by its mean key, or by a bound (Quest).")
    ] = None,
    sink_tokens: Annotated[int, typer.Option(help="First keys always kept on top of the budget.")] = 0,
    dense_layers: Annotated[int, typer.Option(help="First layers that run dense.")] = 0,
    page_size: Annotated[int, typer.Option(help="Tokens per page; a block is a page.")] = 16,
    trials: Annotated[int, typer.Option(help="Answers to each question.")] = 1,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Cap of an answer; without: 30767 as in the paper, mini its own.")
    ] = None,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.6,
    top_p: Annotated[float, typer.Option(help="Share of the probability kept; 1: all.")] = 0.95,
    top_k: Annotated[int, typer.Option(help="Tokens kept; 0: all.")] = 20,
    repetition_window: Annotated[
        int, typer.Option(help="Stop when so many last tokens are 4 or more copies of one stretch; 0: never.")
    ] = 512,
    prompt: Annotated[Prompt, typer.Option(help="What stands around a problem.")] = Prompt.AUTO,
    seed: Annotated[int, typer.Option(help="Every trial's own seed is derived from it.")] = 0,
    batch: Annotated[int, typer.Option(help="Rows of every step, or requests at once; 0: 32 on a CPU, 64.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads of an engine; 0: all shared out, 1 if tiny.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:<index>.")] = "auto",
    out: Annotated[Path, typer.Option(help="Folder of the log.")] = Path("runs"),
    resume: Annotated[bool, typer.Option("--resume", help="Finish the samples that the log lacks.")] = False,
    workers: Annotated[int, typer.Option(help="Engines in Ray actors; 0: one, here.")] = 0,
    ray_address: Annotated[str, typer.Option(help="Of a running Ray cluster; without: this machine.")] = "",
    engine: Annotated[Engine, typer.Option(help="openai: any server of that protocol.")] = Engine.BUILTIN,
    base_url: Annotated[str, typer.Option(help="The server's, such as http://localhost:8000/v1.")] = "",
    timeout: Annotated[float, typer.Option(help="Seconds until a server's answer counts as lost.")] = 1800.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Generate graded AIME samples: a log that survives kill -9, and that `kinetics law --traces` reads."""
    from rich.console import Console

    from kinetics.generate.progress import SampleProgress
    from kinetics.generate.request import EngineName, GenerateRequest, PolicyChoice
    from kinetics.generate.run import run_generate
    from kinetics.samples.log_writer import LostWork
    from kinetics.samples.prompts import PromptStyle
    from kinetics.specs.generation import RepetitionRule, SamplingSettings

    try:
        _check_counts(questions=questions, trials=trials - 1, batch=batch, threads=threads, workers=workers)
        request = GenerateRequest(
            model=model, out=out, dataset=dataset, problems=problems, num_questions=questions,
            choice=PolicyChoice(
                attention=attention, kv_budget=kv_budget, num_local=local, num_sink_tokens=sink_tokens,
                num_dense_layers=dense_layers, page_size=page_size, summary=summary,
            ),
            num_trials=trials, max_new_tokens=max_new_tokens,
            sampling=SamplingSettings(temperature=temperature, top_p=top_p, top_k=top_k),
            repetition=RepetitionRule(window=repetition_window) if repetition_window else None,
            style=None if prompt is Prompt.AUTO else PromptStyle(prompt.value),
            seed=seed, batch=batch, num_threads=threads, device=device, resumes=resume, num_workers=workers,
            ray_address=ray_address, engine=EngineName(engine.value), base_url=base_url,
            api_key=os.environ.get(API_KEY_VARIABLE, ""), timeout_s=timeout,
        )  # fmt: skip
        with SampleProgress(Console(stderr=True)) as progress:
            outcome = run_generate(request, progress)
    except ValueError as error:
        raise ended(str(error), EXIT_USAGE) from None
    except LostWork as error:
        raise ended(str(error), EXIT_LOST) from None
    except KeyboardInterrupt:
        raise ended("stopped; finished samples are in the log, --resume makes the others", EXIT_LOST) from None
    for remark in outcome.remarks:
        typer.echo(printable(remark), err=True)
    for refused in outcome.refused:
        typer.echo(printable(f"refused: {refused.key[0]} trial {refused.key[1]}: {refused.reason}"), err=True)
    if as_json:
        typer.echo(json.dumps(outcome.document, indent=1, allow_nan=False))
    else:
        for key, value in outcome.document.items():
            typer.echo(f"{key}: {value:.4g}" if isinstance(value, float) else f"{key}: {value}")
    if outcome.refused:
        raise typer.Exit(EXIT_LOST)


def _check_counts(**values: int) -> None:
    for name, value in values.items():
        if value < 0:
            raise ValueError(f"--{name} must be a count, got {value}")
