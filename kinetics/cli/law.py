"""The verbs of the law: cost, coverage, grade, law. Each reads options, calls one function and prints.

Data goes to stdout, one JSON document with --json; remarks go to stderr. Nothing is computed here.
"""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from kinetics.cli.errors import one_line_errors
from kinetics.cli.option_types import count_option, is_file_name, number_option, seed_option
from kinetics.cost.query import Mode
from kinetics.files.printable import printable
from kinetics.specs.policies import PolicyKind

MAX_ANSWERS = 2**20
"""To a question: more than anybody draws."""
EXIT_CHANGED, EXIT_USAGE, EXIT_INVALID = 1, 2, 3

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]

ProblemsOption = Annotated[
    Path | None,
    typer.Option(help="Questions and gold answers (id, problem, answer), for answers of servers, which lack them."),
]


class CombineName(Enum):
    """How compute and memory become one number."""

    SUM = "sum"
    MAX = "max"


class GraderName(Enum):
    """Which grader decides; `recorded` trusts the scores in the files."""

    STRICT = "strict"
    PAPER = "paper"
    RECORDED = "recorded"


class AnswerGrader(Enum):
    """Which grader decides on a single answer."""

    STRICT = "strict"
    PAPER = "paper"


def cost(
    model: Annotated[str, typer.Option(help="Such as Qwen3-8B; --json shows its counts.")],
    prompt_len: Annotated[int, count_option("Prompt tokens.")] = 200,
    generated: Annotated[int, count_option("Tokens of each answer.")] = 8192,
    trials: Annotated[int, count_option("Answers to the prompt.", least=1)] = 1,
    attention: Annotated[PolicyKind, typer.Option(help="Which keys a step attends.")] = PolicyKind.DENSE,
    kv_budget: Annotated[int, count_option("Keys kept per KV head.")] = 0,
    local: Annotated[int, count_option("Last keys always kept.")] = 0,
    block_size: Annotated[int, count_option("Keys per block; need not be a page.")] = 0,
    top_blocks: Annotated[int, count_option("Blocks kept.")] = 0,
    sink_tokens: Annotated[int, count_option("First keys always kept on top of the budget.")] = 0,
    partial_block: Annotated[bool, typer.Option(help="Also attend the keys after the last whole block.")] = False,
    intensity: Annotated[float, number_option("FLOP per byte; 562.5 is the paper's B200.")] = 562.5,
    params_billion: Annotated[
        float, number_option("Weights a token multiplies with; 0: the mode's own.", most=1e6)
    ] = 0.0,
    mode: Annotated[Mode, typer.Option(help="Count what happens, or compute what was published.")] = Mode.EXACT,
    batch: Annotated[int, count_option("Answers that share one read of the weights; 0: infinitely many.")] = 0,
    dense_layers: Annotated[int, count_option("First layers that run dense.")] = 0,
    prefill: Annotated[bool, typer.Option(help="Charge the prompt too.")] = False,
    combine: Annotated[CombineName, typer.Option(help="sum: eFLOPs; max: the smaller is hidden.")] = CombineName.SUM,
    context: Annotated[int | None, count_option("The old name of --prompt-len.", hidden=True)] = None,
    as_json: JsonOption = False,
) -> None:
    """FLOP, bytes and eFLOP of one configuration."""
    from kinetics.cost.answers import Combine, CostOptions
    from kinetics.cost.query import CostQuery, cost_document
    from kinetics.specs.known_models import named_model
    from kinetics.specs.policy_options import PolicyOptions, build_policy

    with one_line_errors():
        given = PolicyOptions(
            kv_budget=kv_budget,
            num_local=local,
            block_size=block_size,
            top_blocks=top_blocks,
            num_sink_tokens=sink_tokens,
            keeps_partial_block=partial_block,
        )
        query = CostQuery(
            model=named_model(model),
            policy=build_policy(attention, given),
            prompt_len=prompt_len if context is None else context,
            generated=generated,
            trials=trials,
            intensity=intensity,
            num_parameters=round(params_billion * 1e9),
            mode=mode,
            combine=Combine(combine.value),
            options=CostOptions(batch=batch, num_dense_layers=dense_layers, includes_prefill=prefill),
        )
        _print_document(cost_document(query), as_json=as_json)


def coverage(
    samples: Annotated[int, count_option("Answers on record.", least=1, most=MAX_ANSWERS)],
    correct: Annotated[int, count_option("Correct ones among them.", most=MAX_ANSWERS)],
    trials: Annotated[int, count_option("Answers drawn.", least=1, most=MAX_ANSWERS)],
    as_json: JsonOption = False,
) -> None:
    """Unbiased pass@k: the chance that at least one of k drawn answers is correct."""
    from kinetics.law.accuracy_estimates import coverage as pass_at_k

    with one_line_errors():
        found = {"coverage": pass_at_k(samples, correct, trials=trials)}
        _print_document(found | {"samples": samples, "correct": correct, "trials": trials}, as_json=as_json)


def grade(
    file: Annotated[Path | None, typer.Argument(help="Answers in a known form; without: text on stdin.")] = None,
    gold: Annotated[str, typer.Option(help="The right answer, for text on stdin.")] = "",
    problems: ProblemsOption = None,
    grader: Annotated[
        AnswerGrader, typer.Option(help="strict: last boxed 0..999; paper: lenient.")
    ] = AnswerGrader.STRICT,
    keep_going: Annotated[bool, typer.Option(help="Leave bad lines out and list them.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Grade an answer on stdin, or every answer of a trace file with both graders compared."""
    from kinetics.samples.grade_report import grade_file, grade_text

    with one_line_errors():
        if file is None:
            if problems is not None:
                raise ValueError("--problems needs samples, got text on stdin; name a file of answers")
            if not gold:
                raise ValueError("--gold must be given with text on stdin, got none; or name a trace file")
            text = sys.stdin.buffer.read().decode("utf-8", errors="replace")
            _print_document(grade_text(text, gold, grader=grader.value), as_json=as_json)
            return
        found = grade_file(file, grader=grader.value, keeps_going=keep_going, problems_file=problems)
    _print_document(found, as_json=as_json)
    if found["left_out"]:
        raise typer.Exit(EXIT_CHANGED)


def law(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Sample tables (.csv); or answers as harnesses and servers log them (.jsonl, .json, .parquet)."
        ),
    ] = None,
    traces: Annotated[
        Path | None, typer.Option(help="Folder of logs by `kinetics generate`: cost them here, in seconds too.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for tables and figures; a new one in runs/law, or `law` in the logs' own."),
    ] = None,
    figures: Annotated[bool, typer.Option(help="Draw figures as PNG and SVG.")] = True,
    fetch: Annotated[str, typer.Option(help="Task whose published traces to fetch, such as aime24.")] = "",
    on: Annotated[
        str,
        typer.Option(
            help="Accelerator to charge, such as H200; the paper's B200 without. Several, such as A100,H100,H200,B200, "
            "with --framework and no files: the paper's curves in their seconds."
        ),
    ] = "",
    framework: Annotated[
        str, typer.Option(help="With --on: seconds by fits of kernels measured there: vllm, sglang or trtllm.")
    ] = "",
    tp: Annotated[int, count_option("With --framework: devices that share a model.", "--tp", least=1)] = 1,
    dollars_per_hour: Annotated[
        float | None, number_option("Of one device: also say dollars per question and per right answer.", is_above=True)
    ] = None,
    measured: Annotated[Path | None, typer.Option(help="Result file: charge seconds measured on its device.")] = None,
    mode: Annotated[Mode, typer.Option(help="Count what happens, or compute what was published.")] = Mode.EXACT,
    grader: Annotated[GraderName, typer.Option(help="Who grades texts.")] = GraderName.RECORDED,
    tokenizer: Annotated[
        str, typer.Option(help="tokenizer.json for lengths; `chars` estimates them; `words` for tests.")
    ] = "",
    problems: ProblemsOption = None,
    grade_cuts: Annotated[bool, typer.Option(help="Grade texts cut at every generation budget, as published.")] = False,
    prompt_len: Annotated[int, count_option("Prompt tokens where tables do not tell.")] = 200,
    architecture: Annotated[
        list[str] | None, typer.Option(help="NAME=SPEC or NAME=config.json, for models not in the table.")
    ] = None,
    batch: Annotated[
        int, count_option("Answers that share one read of the weights; 0: infinitely many, with --framework 64.")
    ] = 0,
    dense_layers: Annotated[int, count_option("First layers that ran dense.")] = 0,
    longest: Annotated[bool, typer.Option(help="Read a dense prompt until the longest trial ends.")] = False,
    seed: Annotated[int, seed_option("Of bootstrap, splits and majority draws.")] = 0,
    claims: Annotated[
        bool, typer.Option("--claims", help="Also judge the paper's claims; by default only with its own data.")
    ] = False,
    keep_going: Annotated[bool, typer.Option(help="Leave bad lines and models out and list them.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Frontiers, tables, figures and claims: from the published curves, or from samples."""
    from kinetics.law.request import LawRequest
    from kinetics.law.run import run_law
    from kinetics.results.store import fresh_folder

    with one_line_errors():
        if is_file_name(on) and measured is None:
            on, measured = "", Path(on)
        request = LawRequest(
            files=tuple(files or ()),
            out=out or (traces / "law" if traces else fresh_folder("law")),
            traces=traces,
            draws_figures=figures,
            fetch=fetch,
            on=on,
            framework=framework,
            num_devices=tp,
            dollars_per_hour=dollars_per_hour,
            measured=measured,
            mode=mode,
            grader=grader.value,
            tokenizer=tokenizer,
            problems=problems,
            grades_cuts=grade_cuts,
            prompt_len=prompt_len,
            architectures=tuple(architecture or ()),
            batch=batch,
            num_dense_layers=dense_layers,
            seed=seed,
            reads_prompt_to_longest=longest,
            asks_claims=claims,
            keeps_going=keep_going,
        )
        with _working(bool(request.files or request.fetch or request.traces)):
            outcome = run_law(request)
    for remark in outcome.remarks:
        typer.echo(printable(remark), err=True)
    if as_json:
        _print_document(outcome.document, as_json=True)
    else:
        typer.echo("\n".join(printable(line) for line in outcome.text.split("\n")))
    if outcome.has_failed:
        raise typer.Exit(EXIT_CHANGED)


def _working(is_long: bool) -> AbstractContextManager[object]:
    """A line on a terminal while samples are priced, which may take some seconds."""
    from rich.console import Console

    return Console(stderr=True).status("pricing every strategy and its intervals") if is_long else nullcontext()


def _print_document(document: dict[str, Any], *, as_json: bool) -> None:
    from kinetics.files.atomic import to_strict

    if as_json:
        typer.echo(json.dumps(to_strict(document), indent=1, allow_nan=False))
        return
    from kinetics.tables.document import document_lines

    typer.echo("\n".join(document_lines(document)))
