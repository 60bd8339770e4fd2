"""From a request to a log of samples, and what came of it."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kinetics.generate.request import (
    EngineName,
    GenerateRequest,
    choose_problems,
    log_path,
    max_new_tokens,
    model_name,
    prompt_style,
    task_name,
)
from kinetics.generate.source import Source
from kinetics.samples.answers import Answer
from kinetics.samples.evaluate import Refused, evaluate
from kinetics.samples.log_writer import LOG_SCHEMA, SampleLog
from kinetics.samples.problems import Problem
from kinetics.samples.trials import plan_trials


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOutcome:
    """What to print: a document, remarks, and the trials that nobody answered."""

    document: dict[str, Any]
    remarks: tuple[str, ...]
    refused: tuple[Refused, ...]


class Progress(Protocol):
    """What is told how a run goes on."""

    def start(self, *, num_samples: int, num_done: int, max_new_tokens: int) -> None:
        """Generation begins."""

    def on_tokens(self, num_tokens: int) -> None:
        """A step drew so many tokens."""

    def on_sample(self, answer: Answer) -> None:
        """A sample is finished and in the log."""

    def say(self, text: str) -> None:
        """Something that people should know at once, from whichever thread."""


def run_generate(request: GenerateRequest, progress: Progress) -> GenerateOutcome:
    """Generate every sample that the log lacks.

    Raises: ValueError for what cannot work, before anything is generated; LostWork for what stops the run later.
    """
    problems, path = choose_problems(request), log_path(request)
    if request.choice.remark:
        progress.say(request.choice.remark)
    with _open_source(request, problems, on_tokens=progress.on_tokens, say=progress.say) as source:
        header = _header(request, problems, source)
        with SampleLog.resume(path, header) if request.resumes else SampleLog.create(path, header) as log:
            trials = plan_trials(problems, num_trials=request.num_trials, seed=request.seed, done=log.done)
            num_samples = len(problems) * request.num_trials
            progress.start(num_samples=num_samples, num_done=len(log.done), max_new_tokens=max_new_tokens(request))
            made: list[Answer] = []

            def on_sample(answer: Answer) -> None:
                made.append(answer)
                progress.on_sample(answer)

            started_s = time.perf_counter()
            refused = evaluate(trials, source.answer, log, on_sample=on_sample) if trials else []
            wall_s = time.perf_counter() - started_s
            remarks = (*log.remarks, *source.remarks)
    document = _document(path, made, num_samples=num_samples, num_done=len(log.done), wall_s=wall_s)
    return GenerateOutcome(document=document, remarks=remarks, refused=tuple(refused))


def _header(request: GenerateRequest, problems: Sequence[Problem], source: Source) -> dict[str, Any]:
    from kinetics.machine.facts import installed_versions

    listed = "\n".join(f"{p.problem_id}\t{p.gold}\t{p.text}" for p in problems)
    return {
        "kinetics_log": LOG_SCHEMA,
        "task": task_name(request),
        "model": model_name(request),
        **source.facts,
        "prompt": prompt_style(request).value,
        "problems": {"count": len(problems), "sha256": hashlib.sha256(listed.encode()).hexdigest()},
        "prompt_token_ids_sha256": source.prompts_sha256,
        "trials": request.num_trials,
        "max_new_tokens": max_new_tokens(request),
        "seed": request.seed,
        "grader": "strict",
        "versions": installed_versions(),
        "started_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _document(path: Path, made: Sequence[Answer], *, num_samples: int, num_done: int, wall_s: float) -> dict[str, Any]:
    num_tokens = sum(answer.completion.usage.num_tokens for answer in made)
    return {
        "log": str(path),
        "samples": num_samples,
        "found": num_done,
        "generated": len(made),
        "generated_tokens": num_tokens,
        "wall_s": wall_s,
        "tokens_per_s": num_tokens / wall_s if wall_s else 0.0,
        "finishes": dict(Counter(answer.completion.finish.value for answer in made)),
    }


@contextmanager
def _open_source(
    request: GenerateRequest,
    problems: Sequence[Problem],
    *,
    on_tokens: Callable[[int], None],
    say: Callable[[str], None],
) -> Iterator[Source]:
    """Whoever the request names, ready to answer.

    `on_tokens` is told how many tokens each step of an engine here draws, `say` what people should know at once.

    Raises: ValueError for what cannot work; LostWork for a server that does not answer.
    """
    if request.engine is EngineName.OPENAI:
        from kinetics.generate.server import open_server

        with open_server(request, say=say) as source:
            yield source
        return
    if request.base_url:
        raise ValueError(
            f"--base-url means nothing to the built-in engine, got {request.base_url}; add --engine openai"
        )
    if request.architecture:
        raise ValueError(
            f"--architecture means nothing to the built-in engine, which reads the model's own, got "
            f"{request.architecture}; leave it out"
        )
    from kinetics.generate.builtin import open_builtin

    with open_builtin(request, problems, on_tokens=on_tokens) as source:
        yield source
