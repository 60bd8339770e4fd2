"""Questions x trials: which samples are wanted, how each gets its seed, and the loop that puts answers into the log.

Knows neither engine nor server: whoever answers trials is an `Answerer`. Only this loop writes the log, so a sample is
there whole or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from kinetics.samples.grading import grade_strict
from kinetics.samples.log_writer import Sample, SampleKey, SampleLog
from kinetics.samples.problems import Problem
from kinetics.samples.prompts import Encoder, PromptStyle
from kinetics.specs.generation import FinishReason, Generate, GenerationRequest, RepetitionRule, SamplingSettings

_SEED_BYTES = 4
"""Seeds stay below 2**31: servers differ in what they take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One answer that is wanted: the problem, the trial's number, and the seed it is drawn with."""

    problem: Problem
    trial: int
    seed: int

    @property
    def key(self) -> SampleKey:
        """What names it in a log."""
        return (self.problem.problem_id, self.trial)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a trial; None is what is not known. `reason`: why one was refused.

    `decode_s`, `row_keys`, `device_j` of an engine: see `kinetics.specs.generation.Completion`. `decode_s` of a server:
    from asking to the whole answer.
    """

    trial: Trial
    text: str
    finish: FinishReason
    token_ids: tuple[int, ...] | None
    prompt_tokens: int
    generated_tokens: int
    decode_s: float
    row_keys: float | None = None
    device_j: float | None = None
    reason: str = ""


class Answerer(Protocol):
    """Answers trials, each as soon as it is whole, in any order."""

    def __call__(self, trials: Sequence[Trial]) -> Iterator[Answer]:
        """One answer per trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A trial that was not answered, and why."""

    key: SampleKey
    reason: str


def seed_of(seed: int, problem_id: str, trial: int) -> int:
    """The seed of one trial: a hash, so that neither order nor number of the others matters."""
    digest = hashlib.sha256(f"{seed}/{problem_id}/{trial}".encode()).digest()
    return int.from_bytes(digest[:_SEED_BYTES], "big") >> 1


def plan_trials(problems: Sequence[Problem], *, num_trials: int, seed: int, done: frozenset[SampleKey]) -> list[Trial]:
    """The trials that are not done, all of one problem together so that they can share its prompt."""
    wanted = (
        Trial(problem=problem, trial=trial, seed=seed_of(seed, problem.problem_id, trial))
        for problem in problems
        for trial in range(num_trials)
    )
    return [trial for trial in wanted if trial.key not in done]


def evaluate(
    trials: Sequence[Trial], answer: Answerer, log: SampleLog, *, on_sample: Callable[[Answer], None]
) -> list[Refused]:
    """Answer trials and append each sample, graded, to the log at once; returns those that were refused."""
    refused = []
    for one in answer(trials):
        if one.finish is FinishReason.REFUSED:
            refused.append(Refused(key=one.trial.key, reason=one.reason))
        else:
            log.append(graded_sample(one))
        on_sample(one)
    return refused


def graded_sample(answer: Answer) -> Sample:
    """The sample a log keeps of an answer, graded strictly."""
    problem = answer.trial.problem
    grade = grade_strict(answer.text, str(problem.gold))
    return Sample(
        problem_id=problem.problem_id,
        trial=answer.trial.trial,
        seed=answer.trial.seed,
        query=problem.text,
        gold=problem.gold,
        text=answer.text,
        is_correct=grade.is_correct,
        answer=grade.answer,
        finish=answer.finish.value,
        token_ids=answer.token_ids,
        prompt_tokens=answer.prompt_tokens,
        generated_tokens=answer.generated_tokens,
        decode_s=answer.decode_s,
        row_keys=answer.row_keys,
        device_j=answer.device_j,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineAnswers:
    """Answers from an engine that takes tokens and gives tokens."""

    generate: Generate
    encoder: Encoder
    style: PromptStyle
    max_new_tokens: int
    sampling: SamplingSettings
    repetition: RepetitionRule | None

    def __call__(self, trials: Sequence[Trial]) -> Iterator[Answer]:
        """One answer per trial, in the order in which they end."""
        by_id = {f"{trial.problem.problem_id}/{trial.trial}": trial for trial in trials}
        prompts = {trial.problem.problem_id: self.prompt(trial.problem) for trial in trials}
        requests = [
            GenerationRequest(
                request_id=name,
                prompt_token_ids=prompts[trial.problem.problem_id],
                max_new_tokens=self.max_new_tokens,
                sampling=self.sampling,
                seed=trial.seed,
                repetition=self.repetition,
            )
            for name, trial in by_id.items()
        ]
        for done in self.generate(requests):
            trial = by_id[done.request_id]
            yield Answer(
                trial=trial,
                text=self.encoder.decode(done.token_ids),
                finish=done.finish,
                token_ids=done.token_ids,
                prompt_tokens=len(prompts[trial.problem.problem_id]),
                generated_tokens=len(done.token_ids),
                decode_s=done.decode_s,
                row_keys=done.row_keys,
                device_j=done.device_j,
                reason=done.reason,
            )

    def prompt(self, problem: Problem) -> tuple[int, ...]:
        """The tokens that a problem is asked in."""
        return self.encoder.encode(self.style.text(problem.text))
