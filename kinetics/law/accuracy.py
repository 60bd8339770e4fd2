"""Accuracy of sample sets as tables, costs apart: how answers ended, pass@k, voting, accuracy within a length.

Works for models whose architecture is unknown too. Every row says whether lengths are tokens or estimates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from kinetics.cost.published import TRIALS
from kinetics.law.accuracy_estimates import coverage, mean_length, num_correct_within, outcomes
from kinetics.law.intervals import FloatArray, mean_interval
from kinetics.law.strategies import caps_to_longest, has_votes
from kinetics.law.votes import majorities, weights_by_length
from kinetics.samples.sample_set import SampleSet
from kinetics.tables.table import Table, Value

VOTING_TRIALS: Final = (8, 32)


def accuracy_tables(sets: Sequence[SampleSet], *, seed: int) -> list[Table]:
    """One row per sample set; one per set and number of trials, with intervals; one per set and length cap."""
    named = ("model", "dataset", "attention", "lengths")
    columns = (
        *named, "questions", "trials", "mean_generated", "right", "cut_off", "wrong", "pass_at_1_low",
        "pass_at_1_high", *(f"pass_at_{n}" for n in TRIALS), *(f"majority_at_{n}" for n in VOTING_TRIALS),
        *(f"weighted_majority_at_{n}" for n in VOTING_TRIALS),
    )  # fmt: skip
    by_trials = (*named, "trials", "pass_at_trials", "low", "high")
    by_length = (*named, "max_generated", "accuracy", "mean_generated")
    return [
        Table(name="accuracy", columns=columns, rows=tuple(_row(samples, seed=seed) for samples in sets)),
        Table(name="accuracy_by_trials", columns=by_trials, rows=_trial_rows(sets, seed=seed), prints_markdown=False),
        Table(name="accuracy_by_length", columns=by_length, rows=_length_rows(sets), prints_markdown=False),
    ]


def _row(samples: SampleSet, *, seed: int) -> tuple[Value, ...]:
    passed = _passed(samples)
    interval = mean_interval(passed[1], seed=seed)
    found = outcomes(samples)
    counts = (len(samples.questions), samples.min_trials, mean_length(samples))
    shares = (found.right, found.cut_off, found.wrong, float(interval.low), float(interval.high))
    coverages = (float(passed[n].mean()) if n in passed else None for n in TRIALS)
    return (*_identity(samples), *counts, *shares, *coverages, *_votes(samples, seed=seed))


def _identity(samples: SampleSet) -> tuple[Value, ...]:
    lengths = "estimated" if samples.has_estimated_lengths else "tokens"
    return (samples.model, samples.dataset, samples.attention, lengths)


def _passed(samples: SampleSet) -> dict[int, FloatArray]:
    """pass@k of each question, by k."""
    return {
        n: np.array([coverage(q.num_trials, q.num_correct, trials=n) for q in samples.questions])
        for n in TRIALS
        if n <= samples.min_trials
    }


def _votes(samples: SampleSet, *, seed: int) -> list[float | None]:
    """Majority, then weighted majority, at each number of trials; None where too few answers or none can vote."""
    counts = [n for n in VOTING_TRIALS if n <= samples.min_trials] if has_votes(samples) else []
    missing: list[float | None] = [None] * (len(VOTING_TRIALS) - len(counts))
    if not counts:
        return 2 * missing
    found: list[float | None] = []
    for is_weighted in (False, True):
        shares = [
            majorities(
                q, trials=counts, weights=(q.weights or weights_by_length(q)) if is_weighted else None, seed=seed
            )
            for q in samples.questions
        ]
        found += [*np.mean(shares, axis=0).tolist(), *missing]
    return found


def _trial_rows(sets: Sequence[SampleSet], *, seed: int) -> tuple[tuple[Value, ...], ...]:
    rows: list[tuple[Value, ...]] = []
    for samples in sets:
        for n, passed in _passed(samples).items():
            interval = mean_interval(passed, seed=seed)
            rows.append((*_identity(samples), n, float(passed.mean()), float(interval.low), float(interval.high)))
    return tuple(rows)


def _length_rows(sets: Sequence[SampleSet]) -> tuple[tuple[Value, ...], ...]:
    rows: list[tuple[Value, ...]] = []
    caps = caps_to_longest(sets)
    for samples in sets:
        for budget in caps:
            accuracy = float(np.mean([num_correct_within(q, budget) / q.num_trials for q in samples.questions]))
            generated = float(np.mean([np.mean(np.minimum(q.lengths, budget)) for q in samples.questions]))
            rows.append((*_identity(samples), budget, accuracy, generated))
    return tuple(rows)
