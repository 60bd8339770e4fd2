"""What `bench/test_aime.py` measures: which models under which attention, and what a run of theirs comes to.

The default is the miniature family: it checks the pipeline and shows the law's shape, and says nothing about language
models.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from kinetics.cost.published import PUBLISHED_BILLION_PARAMETERS
from kinetics.files.lines import DataFileError
from kinetics.generate.request import MINI, GenerateRequest, PolicyChoice
from kinetics.generate.run import GenerateOutcome, run_generate
from kinetics.law.accuracy_estimates import mean_coverage
from kinetics.law.intervals import mean_interval
from kinetics.law.logs import (
    Comparison,
    choices_on,
    compare_with_dense,
    cost_models_of_logs,
    in_points,
    of_task,
    tabulate_logs,
)
from kinetics.law.request import LawOutcome, LawRequest
from kinetics.law.run import logs_of
from kinetics.law.sources import read_samples
from kinetics.samples.log_header import TraceHeader, read_header
from kinetics.samples.log_reader import read_trace_file
from kinetics.samples.trace_answers import TraceRules
from kinetics.specs.policies import BlockSummary, Dense, PolicyKind
from kinetics_kernels.unavailable import Unavailable

MINI_QUESTIONS: Final = 12
MINI_TRIALS: Final = 4
MINI_BUDGET: Final = PolicyChoice(
    attention=PolicyKind.BLOCK_TOPK, kv_budget=64, num_local=16, num_sink_tokens=64, summary=BlockSummary.MIN_MAX
)
"""At most 143 keys of the longest context of 2,612, the problem's pages and the partial page included: 5.5 %."""
REAL_TRIALS: Final = 8
REAL_BUDGET: Final = PolicyChoice(attention=PolicyKind.BLOCK_TOPK, kv_budget=1024, num_local=64, page_size=16)


@dataclass(frozen=True, slots=True, kw_only=True)
class AimeCase:
    """One log to make: a model under one policy."""

    model: str
    dataset: str
    num_questions: int
    num_trials: int
    choice: PolicyChoice

    def __str__(self) -> str:
        return f"{self.model.rsplit('/', maxsplit=1)[-1]}-{self.choice.label}"

    def request(self, out: Path, *, device: str) -> GenerateRequest:
        """The run that makes it."""
        return GenerateRequest(
            model=self.model,
            dataset=self.dataset,
            num_questions=self.num_questions,
            num_trials=self.num_trials,
            choice=self.choice,
            out=out,
            device=device,
        )


class Quiet:
    """A progress that shows nothing: drawing would be measured."""

    def start(self, *, num_samples: int, num_done: int, max_new_tokens: int) -> None:
        """Generation begins."""

    def on_tokens(self, num_tokens: int) -> None:
        """A step drew so many tokens."""

    def on_sample(self, answer: object) -> None:
        """A sample is finished."""

    def say(self, text: str) -> None:
        """Something that people should know."""


def aime_cases(hf_model: str) -> list[AimeCase]:
    """Each model of the miniature family, or one with real weights: dense, and block top-k."""
    if hf_model:
        choices = (PolicyChoice(), REAL_BUDGET)
        return [
            AimeCase(model=hf_model, dataset="aime24", num_questions=0, num_trials=REAL_TRIALS, choice=choice)
            for choice in choices
        ]
    from kinetics.mini.family import MINI_MODELS

    return [
        AimeCase(model=name, dataset=MINI, num_questions=MINI_QUESTIONS, num_trials=MINI_TRIALS, choice=choice)
        for name in MINI_MODELS
        for choice in (PolicyChoice(), MINI_BUDGET)
    ]


def missing_weights(case: AimeCase) -> Unavailable | None:
    """Why a miniature cannot be run here; None if it can."""
    if case.dataset != MINI:
        return None
    from kinetics.mini.family import model_folder

    folder = model_folder(case.model)
    if (folder / "model.safetensors").is_file():
        return None
    return Unavailable(f"{folder} has no weights; kinetics mini train")


def run_case(case: AimeCase, out: Path, *, device: str) -> GenerateOutcome:
    """Generate the case's samples into `out`."""
    return run_generate(case.request(out, device=device), Quiet())


def run_facts(case: AimeCase, outcome: GenerateOutcome) -> dict[str, Any]:
    """What a row says of a generated log."""
    document = outcome.document
    file = read_trace_file(Path(document["log"]), TraceRules(tokenizer=None, grader=None))
    questions = file.samples.questions
    solved = np.array([question.num_correct / question.num_trials for question in questions])
    interval = mean_interval(solved)
    trials = file.samples.min_trials
    return {
        "operation": "aime_generate",
        "model": file.samples.model,
        "attention": case.choice.label,
        "kv_budget": case.choice.kv_budget or None,
        "page_size": case.choice.page_size,
        "batch": int(file.header.engine["batch"]),
        "questions": len(questions),
        "trials": trials,
        "pass_at_1": float(solved.mean()),
        "pass_at_1_low": float(interval.low),
        "pass_at_1_high": float(interval.high),
        "pass_at_all": mean_coverage(file.samples, trials=trials),
        "generated_tokens": document["generated_tokens"],
        "generation_s": document["wall_s"],
        "tokens_per_s": document["tokens_per_s"],
        "finishes": document["finishes"],
    }


def paper_traces(logs: Path) -> tuple[Path, ...]:
    """The traces of a folder, if they are the paper's: AIME24, each of its six sizes dense, not generated here."""
    headers = {path: _header_of(path) for path in sorted(logs.glob("*.jsonl"))}
    theirs = {path: header for path, header in headers.items() if header.dataset == "aime24" and not header.engine}
    dense_models = {header.model for header in theirs.values() if isinstance(header.policy, Dense)}
    return tuple(theirs) if dense_models >= set(PUBLISHED_BILLION_PARAMETERS) else ()


def _header_of(path: Path) -> TraceHeader:
    with path.open(encoding="utf-8") as file:
        try:
            first = json.loads(file.readline())
        except ValueError as error:
            raise DataFileError(f"{path}:1: line must be JSON, got {error}") from None
    if not isinstance(first, dict):
        raise DataFileError(f"{path}:1: line must be a JSON object, got {type(first).__name__}")
    return read_header(path, None if "query" in first else first)


def claim_facts(outcome: LawOutcome) -> dict[str, Any]:
    """What a row says of the paper's claims."""
    claims = outcome.document["claims"]
    counts = Counter(claim["status"].replace(" ", "_") for claim in claims)
    changed = [claim["key"] for claim in claims if claim["has_changed"]]
    return {"operation": "aime_claims", "claims": len(claims), **counts, "changed": changed}


def law_request(logs: Path, out: Path, *, files: tuple[Path, ...] = ()) -> LawRequest:
    """The request that costs a folder of logs; with `files`, that which holds them against the paper's claims."""
    return LawRequest(files=files, traces=None if files else logs, out=out)


def compare_logs(logs: Path, out: Path, task: str, cost_name: str) -> list[Comparison]:
    """Sparse against dense frontiers of a folder of logs, for one way of spending on one cost axis."""
    found = logs_of(read_samples(law_request(logs, out)))
    return compare_with_dense(choices_on(of_task(task, tabulate_logs(found, cost_models_of_logs(found))), cost_name))


def comparison_facts(comparison: Comparison, task: str, cost_name: str) -> dict[str, Any]:
    """What a row says of one comparison."""
    return {
        "operation": "aime_sparse_against_dense",
        "task": task,
        "axis": cost_name,
        "family": comparison.kind.value,
        "costs_compared": comparison.num_costs,
        "costs_below": comparison.num_below,
        "costs_clearly_below": comparison.num_clearly_below,
        "smallest_gain_points": in_points(comparison.smallest_gain),
        "largest_gain_points": in_points(comparison.largest_gain),
        "cost_ratio_at_dense_maximum": comparison.cost_ratio_at_dense_maximum,
    }
