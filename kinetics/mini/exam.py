"""Sitting the contest with the built-in engine: samples of a model, graded, and the mistakes in their steps counted.

The long way, with logs that survive a crash and every cost, is the pipeline's; this one measures the family itself.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from tokenizers import Tokenizer

from kinetics.engine.attention import AttentionSettings
from kinetics.engine.checkpoint import load_weights, read_spec
from kinetics.engine.decoder import Decoder
from kinetics.engine.generator import Generator
from kinetics.mini.contest import BASE, FIRST_NAMES, PROMPT_SYMBOLS, SECOND_NAMES, ContestProblem
from kinetics.mini.family import MAX_NEW_TOKENS
from kinetics.samples.grading import grade_strict
from kinetics.samples.sample_set import Question
from kinetics.specs.generation import Completion, FinishReason, GenerationRequest, SamplingSettings
from kinetics_kernels.shapes import num_pages_for

TokenIds = tuple[int, ...]
SAMPLING: Final = SamplingSettings(temperature=0.6, top_p=0.95, top_k=20)
QUARTERS: Final = tuple(MAX_NEW_TOKENS * quarter // 4 for quarter in (1, 2, 3, 4))
PAGE_SIZE: Final = 16
MAX_CONTEXT: Final = PROMPT_SYMBOLS + MAX_NEW_TOKENS
"""Tokens of the longest prompt and solution together."""

_ATTEMPT: Final = re.compile(rf"([{FIRST_NAMES}])(\d)\+([{SECOND_NAMES}])(\d)=(\d)\?(\d) (no|yes)\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamResult:
    """Graded samples, one question per problem, with grades of the texts cut at each quarter of the cap.

    `step_mistakes`: by kind of step, how many of `num_attempts` attempts got it wrong. `num_tokens`: all generated.
    """

    questions: tuple[Question, ...]
    step_mistakes: dict[str, int]
    num_attempts: int
    num_tokens: int


def sit_exam(
    folder: Path,
    problems: Sequence[ContestProblem],
    *,
    num_trials: int,
    settings: AttentionSettings | None = None,
    max_batch: int = 64,
) -> ExamResult:
    """Let the model in `folder` solve each problem so many times, in float32 on the CPU, by the paper's sampling."""
    spec = read_spec(folder)
    weights = load_weights(folder, spec.model, device="cpu", dtype=torch.float32)
    generator = Generator(
        Decoder(spec, weights),
        settings=settings or AttentionSettings(),
        max_batch=max_batch,
        # Every row has its own pages and, at worst, its own prompt.
        num_pages=max_batch * (num_pages_for(MAX_CONTEXT, PAGE_SIZE) + num_pages_for(PROMPT_SYMBOLS, PAGE_SIZE)),
        page_size=PAGE_SIZE,
        max_context=MAX_CONTEXT,
    )
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    requests = [
        _request(tokenizer, problem, index, trial)
        for index, problem in enumerate(problems)
        for trial in range(num_trials)
    ]
    done = {completion.request_id: _token_ids(completion) for completion in generator(requests)}
    own = [[done[_request_id(problem, trial)] for trial in range(num_trials)] for problem in problems]
    return _graded(tokenizer, problems, own)


def step_mistakes(problem: ContestProblem, text: str) -> Counter[str]:
    """How many attempts a solution has, and in how many a digit looked up, the sum or the verdict is wrong.

    Each step is judged by what was written before it: a right sum of wrong digits is right.
    """
    digit_of = dict(zip(FIRST_NAMES + SECOND_NAMES, (*problem.first, *problem.second), strict=True))
    counts: Counter[str] = Counter()
    for name, first, other_name, second, total, target, verdict in _ATTEMPT.findall(text):
        counts["attempt"] += 1
        counts["look-up"] += int(first) != digit_of[name] or int(second) != digit_of[other_name]
        counts["sum"] += (int(first) + int(second)) % BASE != int(total)
        counts["verdict"] += int(target) != problem.target or (total == target) != (verdict == "yes")
    return counts


def _request_id(problem: ContestProblem, trial: int) -> str:
    return f"{problem.problem_id}/{trial}"


def _request(tokenizer: Tokenizer, problem: ContestProblem, index: int, trial: int) -> GenerationRequest:
    return GenerationRequest(
        request_id=_request_id(problem, trial),
        prompt_token_ids=tuple(tokenizer.encode(problem.text).ids),
        max_new_tokens=MAX_NEW_TOKENS,
        sampling=SAMPLING,
        seed=1000 * index + trial,
    )


def _token_ids(completion: Completion) -> TokenIds:
    assert completion.finish is not FinishReason.REFUSED, f"the cache is made for these, but {completion.reason}"
    assert completion.token_ids is not None, "the engine tells its tokens"
    return completion.token_ids


def _graded(
    tokenizer: Tokenizer, problems: Sequence[ContestProblem], answers: Sequence[Sequence[TokenIds]]
) -> ExamResult:
    mistakes: Counter[str] = Counter()
    questions = []
    for problem, trials in zip(problems, answers, strict=True):
        for token_ids in trials:
            mistakes += step_mistakes(problem, tokenizer.decode(token_ids))
        questions.append(_question(tokenizer, problem, trials))
    num_attempts = mistakes.pop("attempt", 0)
    return ExamResult(
        questions=tuple(questions),
        step_mistakes={kind: mistakes[kind] for kind in ("look-up", "sum", "verdict")},
        num_attempts=num_attempts,
        num_tokens=sum(sum(question.lengths) for question in questions),
    )


def _question(tokenizer: Tokenizer, problem: ContestProblem, trials: Sequence[TokenIds]) -> Question:
    whole = [grade_strict(tokenizer.decode(token_ids), str(problem.gold)) for token_ids in trials]
    return Question(
        question_id=problem.problem_id,
        prompt_len=PROMPT_SYMBOLS,
        lengths=tuple(len(token_ids) for token_ids in trials),
        is_correct=tuple(grade.is_correct for grade in whole),
        answers=tuple(grade.answer for grade in whole),
        graded_cuts={
            budget: _grades(problem, (tokenizer.decode(token_ids[:budget]) for token_ids in trials))
            for budget in QUARTERS
        },
    )


def _grades(problem: ContestProblem, texts: Iterable[str]) -> tuple[bool, ...]:
    return tuple(grade_strict(text, str(problem.gold)).is_correct for text in texts)
