"""What `kinetics generate` is asked for: problems, model, attention, sampling; and the names that follow from it.

Reads nothing but problems, computes nothing; no engine is imported.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

from kinetics.samples.problems import Problem, check_unique, load_problems, read_problems
from kinetics.samples.prompts import PromptStyle
from kinetics.specs.generation import MAX_GENERATED, RepetitionRule, SamplingSettings
from kinetics.specs.models import find_model
from kinetics.specs.policies import AttentionPolicy, BlockSummary, PolicyKind, policy_label
from kinetics.specs.policy_options import PolicyOptions, build_policy

MINI: Final = "mini"
_MINI_QUESTIONS: Final = 32
_MAX_NAME_BYTES: Final = 255 - len(".remnant")
"""Of one part of a path: what Linux and macOS allow, with room for the name of a cut line's file."""


_NEEDS_SINKS: Final = (PolicyKind.BLOCK_TOPK, PolicyKind.LOCAL)
"""Mean keys of pages, and recency, do not find the first tokens on which models rest their attention."""


class EngineName(Enum):
    """Who generates."""

    BUILTIN = "builtin"
    OPENAI = "openai"


class PromptChoice(Enum):
    """What is put around a problem; `auto`: the paper's instruction, but nothing for the miniature."""

    AUTO = "auto"
    PAPER = "paper"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChoice:
    """Attention as asked for; 0 and None mean not given.

    `kv_budget` includes the local keys of block top-k, and of local attention is nothing else. Sinks come on top:
    `num_sink_tokens` 0 is none of them, None the page that pages and local keys need on real text.
    """

    attention: PolicyKind = PolicyKind.DENSE
    kv_budget: int = 0
    num_local: int = 0
    num_sink_tokens: int | None = None
    num_dense_layers: int = 0
    page_size: int = 16
    summary: BlockSummary | None = None

    def policy(self) -> AttentionPolicy:
        """The policy, its blocks being the engine's pages.

        Raises: ValueError naming the option that does not fit.
        """
        is_block, is_local = self.attention is PolicyKind.BLOCK_TOPK, self.attention is PolicyKind.LOCAL
        if is_block and (self.kv_budget % self.page_size or self.kv_budget <= self.num_local):
            raise ValueError(
                f"--kv-budget must be a multiple of --page-size and more than --local, got {self.kv_budget}, "
                f"{self.page_size} and {self.num_local}"
            )
        given = PolicyOptions(
            kv_budget=0 if is_local else self.kv_budget,
            num_local=self.kv_budget or self.num_local if is_local else self.num_local,
            block_size=self.page_size if is_block else 0,
            num_sink_tokens=self.num_kept_sinks,
            keeps_partial_block=is_block,
            summary=self.summary,
        )
        return build_policy(self.attention, given)

    @property
    def num_kept_sinks(self) -> int:
        """First keys always kept: as given, else a page of them where attention would not find them by itself."""
        if self.num_sink_tokens is not None:
            return self.num_sink_tokens
        return self.page_size if self.attention in _NEEDS_SINKS else 0

    @property
    def remark(self) -> str:
        """What people should know of it before it runs; empty if nothing."""
        if self.attention not in _NEEDS_SINKS or self.num_kept_sinks:
            return ""
        return (
            f"--sink-tokens 0: no first keys are kept, and on real text {self.attention.value} attention without them "
            f"answers much worse; --sink-tokens {self.page_size}, the default, keeps one page (docs/aime.md)"
        )

    @property
    def label(self) -> str:
        """The whole policy as files and tables spell it.

        Raises: ValueError naming the option that does not fit.
        """
        return policy_label(self.policy(), num_dense_layers=self.num_dense_layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """Options of `kinetics generate`. None, 0 and empty texts mean not given."""

    model: str
    out: Path
    dataset: str = ""
    problems: Path | None = None
    num_questions: int = 0
    choice: PolicyChoice = field(default_factory=PolicyChoice)
    num_trials: int = 1
    max_new_tokens: int | None = None
    sampling: SamplingSettings = field(default_factory=lambda: SamplingSettings(temperature=0.6, top_p=0.95, top_k=20))
    repetition: RepetitionRule | None = field(default_factory=RepetitionRule)
    prompt: PromptChoice = PromptChoice.AUTO
    seed: int = 0
    batch: int = 0
    num_threads: int = 0
    device: str = "auto"
    dtype: str = ""
    resumes: bool = False
    num_workers: int = 0
    ray_address: str = ""
    engine: EngineName = EngineName.BUILTIN
    base_url: str = ""
    architecture: str = ""
    api_key: str = ""
    timeout_s: float = 1800.0


def choose_problems(request: GenerateRequest) -> tuple[Problem, ...]:
    """The problems a request names, the first `num_questions` of them.

    Raises: ValueError if it names none or two sources, or they cannot be used.
    """
    if bool(request.dataset) == (request.problems is not None):
        raise ValueError("one of --dataset and --problems must be given, got both or none")
    if request.dataset == MINI:
        return _mini_problems(request.num_questions or _MINI_QUESTIONS)
    problems = load_problems(request.dataset) if request.problems is None else read_problems(request.problems)
    if request.num_questions > len(problems):
        raise ValueError(f"--questions must be at most the {len(problems)} there are, got {request.num_questions}")
    return problems[: request.num_questions or None]


def log_path(request: GenerateRequest) -> Path:
    """`<out>/<data set>_<model>_<policy>.jsonl`, named as published trace files are.

    Raises: ValueError if a file cannot have so long a name.
    """
    name = f"{task_name(request)}_{model_name(request).replace('_', '-')}_{request.choice.label}.jsonl"
    num_bytes = len(os.fsencode(name))
    if num_bytes > _MAX_NAME_BYTES:
        raise ValueError(
            f"a log's name must be at most {_MAX_NAME_BYTES} bytes, got {num_bytes} for data set, model and policy "
            f"({name[:60]}...); give the folder of the model, or the file of problems, a shorter name"
        )
    return request.out / name


def task_name(request: GenerateRequest) -> str:
    """What a log calls the problems."""
    if request.problems:
        return request.problems.stem.replace("_", "-")
    return request.dataset.rpartition("/")[2].partition(":")[0].replace("_", "-")


def model_name(request: GenerateRequest) -> str:
    """What tables call the model: the name the suite knows it by, else the last part of what was typed."""
    name = Path(request.model).resolve().name if Path(request.model).is_dir() else request.model.rsplit("/")[-1]
    try:
        return find_model(name).name
    except ValueError:
        return name


def max_new_tokens(request: GenerateRequest) -> int:
    """The cap of an answer: as given, else the paper's, or the miniature's own."""
    if request.max_new_tokens is not None:
        return request.max_new_tokens
    if request.dataset != MINI:
        return MAX_GENERATED
    from kinetics.mini.family import MAX_NEW_TOKENS

    return MAX_NEW_TOKENS


def prompt_style(request: GenerateRequest) -> PromptStyle:
    """What stands around a problem: as chosen, else the paper's instruction, and nothing for the miniature."""
    if request.prompt is PromptChoice.AUTO:
        return PromptStyle.PLAIN if request.dataset == MINI else PromptStyle.PAPER
    return PromptStyle(request.prompt.value)


def _mini_problems(count: int) -> tuple[Problem, ...]:
    from kinetics.mini.family import contest_problems

    problems = [Problem(problem_id=p.problem_id, text=p.text, gold=p.gold) for p in contest_problems(count)]
    check_unique(problems, source=MINI)
    return tuple(problems)
