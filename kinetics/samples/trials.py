"""Questions x trials: which samples are wanted, and the seed each is drawn with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from kinetics.samples.log_writer import SampleKey
from kinetics.samples.problems import Problem

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

    @property
    def request_id(self) -> str:
        """What names it to an engine."""
        return f"{self.problem.problem_id}/{self.trial}"


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
