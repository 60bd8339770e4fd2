"""Every way to spend that a set of logs can answer exactly: model x policy x length cap x trials, scored and priced.

Shorter caps and fewer trials follow from the same samples; another KV budget is another log. One choice is made for
all questions, so no accuracy here knows the answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kinetics.cost.published import TRIALS
from kinetics.law.accuracy_estimates import correct_within, coverage
from kinetics.law.measured_prices import MeasuredDevice, prices_of
from kinetics.law.prices import Price
from kinetics.samples.log_reader import TraceFile
from kinetics.samples.sample_set import Question
from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import AttentionPolicy, PolicyKind, policy_label

FloatArray = NDArray[np.float64]
NUM_CAPS: Final = 16
"""Length caps, in equal steps up to the longest there is: as many as the paper has."""
COSTS: Final = ("exact_tera_eflop", "paper_tera_eflop", "predicted_s", "measured_s", "measured_j")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spending:
    """One way to spend. `accuracy`: per question; `cost`: mean over questions by name, None where nothing tells it."""

    model: str
    policy: AttentionPolicy
    max_generated: int
    trials: int
    accuracy: FloatArray
    mean_tokens: float
    cost: Mapping[str, float | None]

    @property
    def family(self) -> PolicyKind:
        """The family of its policy."""
        return self.policy.kind

    @property
    def label(self) -> str:
        """Model and policy, as people would ask for them."""
        return f"{self.model} {policy_label(self.policy)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """One log with the shape of its model."""

    file: TraceFile
    spec: ModelSpec


def spendings(logs: Sequence[Log], *, batch: int, device: MeasuredDevice | None) -> list[Spending]:
    """Every option of every log; all share questions, in one order."""
    found = []
    for log in logs:
        prices = prices_of(log.file.header, log.spec, log.file.timings, batch=batch, device=device)
        for cap in caps_of(log.file):
            found += _at_cap(log, cap, prices)
    return found


def caps_of(file: TraceFile) -> list[int]:
    """Length caps in equal steps up to the run's own, or up to the longest answer where the file tells none."""
    longest = max(length for question in file.samples.questions for length in question.lengths)
    most = file.header.max_new_tokens or longest
    return sorted({-(-most * step // NUM_CAPS) for step in range(1, NUM_CAPS + 1)})


def _at_cap(log: Log, cap: int, prices: Mapping[str, Price | None]) -> list[Spending]:
    samples = log.file.samples
    questions = sorted(samples.questions, key=lambda question: question.question_id)
    trials = [n for n in TRIALS if n <= samples.min_trials]
    cuts = [[min(length, cap) for length in question.lengths] for question in questions]
    costs = {name: _mean_costs(price, log, questions, cuts, trials) for name, price in prices.items()}
    mean_tokens = float(np.mean([np.mean(cut) for cut in cuts]))
    num_correct = [sum(correct_within(question, cap)) for question in questions]
    return [
        Spending(
            model=samples.model,
            policy=samples.policy,
            max_generated=cap,
            trials=n,
            accuracy=np.array(
                [coverage(q.num_trials, right, trials=n) for q, right in zip(questions, num_correct, strict=True)]
            ),
            mean_tokens=n * mean_tokens,
            cost={name: per_trials[i] if per_trials else None for name, per_trials in costs.items()},
        )
        for i, n in enumerate(trials)
    ]


def _mean_costs(
    price: Price | None, log: Log, questions: Sequence[Question], cuts: Sequence[list[int]], trials: Sequence[int]
) -> list[float] | None:
    """One mean cost per number of trials."""
    if price is None:
        return None
    policy = log.file.samples.policy
    per_question = [
        price(policy, prompt_len=question.prompt_len, lengths=cut, trials=trials)
        for question, cut in zip(questions, cuts, strict=True)
    ]
    return [float(value) for value in np.mean(per_question, axis=0)]
