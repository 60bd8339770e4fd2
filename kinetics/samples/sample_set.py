"""Accuracy that test-time compute buys: pass@k, majority@k, accuracy within a budget, with intervals.

Samples are graded answers with their lengths; this file knows neither how they were generated nor what they cost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kinetics.specs.policies import AttentionPolicy, policy_label

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question and its independent graded answers.

    `lengths` are generated tokens. `answers` are what majority voting counts: an empty string casts no vote.
    `is_cut_off`: which were stopped by the length cap; empty where that is not known. `weights`: of the votes, empty
    where the samples carry none. `graded_cuts` holds, by generation budget, grades of the texts cut there, where texts
    were at hand.

    Raises: ValueError if the answers are none or their facts differ in number.
    """

    question_id: str
    prompt_len: int
    lengths: tuple[int, ...]
    is_correct: tuple[bool, ...]
    answers: tuple[str, ...]
    is_cut_off: tuple[bool, ...] = ()
    weights: tuple[float, ...] = ()
    graded_cuts: Mapping[int, tuple[bool, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.lengths or not len(self.lengths) == len(self.is_correct) == len(self.answers):
            raise ValueError(
                f"question {self.question_id} must have one length, grade and answer per trial and at least one trial, "
                f"got {len(self.lengths)}, {len(self.is_correct)} and {len(self.answers)}"
            )

    @property
    def num_trials(self) -> int:
        """Answers on record."""
        return len(self.lengths)

    @property
    def cut_off(self) -> tuple[bool, ...]:
        """Which answers were stopped by the length cap: none, where that is not known."""
        return self.is_cut_off or (False,) * self.num_trials

    @property
    def num_correct(self) -> int:
        """Answers graded correct."""
        return sum(self.is_correct)

    def subset(self, trials: Sequence[int]) -> "Question":
        """The same question with only the given trials."""
        return Question(
            question_id=self.question_id,
            prompt_len=self.prompt_len,
            lengths=tuple([self.lengths[i] for i in trials]),
            is_correct=tuple([self.is_correct[i] for i in trials]),
            answers=tuple([self.answers[i] for i in trials]),
            is_cut_off=tuple([self.is_cut_off[i] for i in trials]) if self.is_cut_off else (),
            weights=tuple([self.weights[i] for i in trials]) if self.weights else (),
            graded_cuts={budget: tuple(cut[i] for i in trials) for budget, cut in self.graded_cuts.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSet:
    """All answers of one model under one attention policy to one set of questions.

    `has_estimated_lengths`: the source counts characters; token counts are estimates and every table must say so.
    `num_dense_layers`: first layers that ran dense whatever the policy; it makes another set, as a policy does.
    """

    model: str
    dataset: str
    policy: AttentionPolicy
    questions: tuple[Question, ...]
    has_estimated_lengths: bool
    num_dense_layers: int = 0

    @property
    def attention(self) -> str:
        """The whole policy, dense layers included, as tables spell it."""
        return policy_label(self.policy, num_dense_layers=self.num_dense_layers)

    @property
    def label(self) -> str:
        """Model and policy, as people would ask for them; unlike sets of one data set never share it."""
        return f"{self.model} {self.attention}"

    @property
    def question_ids(self) -> frozenset[str]:
        """Identities of the questions, for telling whether two sets compare."""
        return frozenset(question.question_id for question in self.questions)

    @property
    def min_trials(self) -> int:
        """Answers that every question has at least."""
        return min(question.num_trials for question in self.questions)
