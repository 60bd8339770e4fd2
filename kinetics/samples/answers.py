"""Answers to trials: who gives them, how an engine's tokens become text, and the line a log keeps of each.

Knows neither engine nor server: whoever answers trials is an `Answerer`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kinetics.samples.grading import grade_answer
from kinetics.samples.problems import Problem
from kinetics.samples.prompts import Encoder, PromptStyle
from kinetics.samples.trials import Trial
from kinetics.specs.generation import Completion, Generate, GenerationRequest, RepetitionRule, SamplingSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a trial: the text, the tokens of its prompt, and the completion with what it took."""

    trial: Trial
    text: str
    prompt_tokens: int
    completion: Completion

    def as_record(self) -> dict[str, Any]:
        """The line that a log keeps, graded strictly, its fields named as in trace files; what is None is left out."""
        problem, done = self.trial.problem, self.completion
        grade = grade_answer(self.text, problem.gold)
        record = {
            "problem_id": problem.problem_id,
            "trial": self.trial.trial,
            "seed": self.trial.seed,
            "query": problem.text,
            "choices": [str(problem.gold)],
            "prediction": [self.text],
            "score": 100.0 if grade.is_correct else 0.0,
            "answer": grade.answer,
            "finish": done.finish.value,
            "prompt_tokens": self.prompt_tokens,
            "generated_tokens": done.usage.num_tokens,
            "decode_s": done.usage.decode_s,
            "row_keys": done.usage.keys_read,
            "device_j": done.usage.energy_j,
            "token_ids": None if done.token_ids is None else list(done.token_ids),
        }
        return {name: value for name, value in record.items() if value is not None}


class Answerer(Protocol):
    """Answers trials, each as soon as it is whole, in any order."""

    def __call__(self, trials: Sequence[Trial]) -> Iterator[Answer]:
        """One answer per trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialEncoder:
    """How trials become requests to an engine: the words around a problem, its tokens, and how answers are drawn."""

    encoder: Encoder
    style: PromptStyle
    max_new_tokens: int
    sampling: SamplingSettings
    repetition: RepetitionRule | None

    def prompt(self, problem: Problem) -> tuple[int, ...]:
        """The tokens that a problem is asked in."""
        return self.encoder.encode(self.style.text(problem.text))

    def requests(self, trials: Sequence[Trial]) -> list[GenerationRequest]:
        """One request per trial; each problem is encoded once."""
        prompts = {trial.problem.problem_id: self.prompt(trial.problem) for trial in trials}
        return [
            GenerationRequest(
                request_id=trial.request_id,
                prompt_token_ids=prompts[trial.problem.problem_id],
                max_new_tokens=self.max_new_tokens,
                sampling=self.sampling,
                seed=trial.seed,
                repetition=self.repetition,
            )
            for trial in trials
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineAnswers:
    """Answers from an engine that takes tokens and gives tokens."""

    generate: Generate
    trial_encoder: TrialEncoder

    def __call__(self, trials: Sequence[Trial]) -> Iterator[Answer]:
        """One answer per trial, in the order in which they end."""
        requests = self.trial_encoder.requests(trials)
        asked = {request.request_id: (trial, request) for trial, request in zip(trials, requests, strict=True)}
        for completion in self.generate(requests):
            trial, request = asked[completion.request_id]
            yield Answer(
                trial=trial,
                text=self.trial_encoder.encoder.decode(completion.token_ids or ()),
                prompt_tokens=len(request.prompt_token_ids),
                completion=completion,
            )
