"""The loop that puts answers into the log; only it writes there, so a sample is there whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kinetics.samples.answers import Answer, Answerer
from kinetics.samples.log_writer import SampleKey, SampleLog
from kinetics.samples.trials import Trial
from kinetics.specs.generation import FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A trial that was not answered, and why."""

    key: SampleKey
    reason: str


def evaluate(
    trials: Sequence[Trial], answer: Answerer, log: SampleLog, *, on_sample: Callable[[Answer], None]
) -> list[Refused]:
    """Answer trials and append each sample, graded, to the log at once; returns those that were refused."""
    refused = []
    for one in answer(trials):
        if one.completion.finish is FinishReason.REFUSED:
            refused.append(Refused(key=one.trial.key, reason=one.completion.reason))
        else:
            log.append(one.as_record())
        on_sample(one)
    return refused
