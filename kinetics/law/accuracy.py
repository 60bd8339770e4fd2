"""Accuracy of sample sets as tables, costs apart: pass@k, majority@k, accuracy within a generation budget.

Works for models whose architecture is unknown too. Every row says whether lengths are tokens or estimates.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from kinetics.cost.published import GENERATION_BUDGETS, TRIALS
from kinetics.law.accuracy_estimates import bootstrap_interval, correct_within, majority, mean_coverage, mean_length
from kinetics.samples.sample_set import SampleSet
from kinetics.specs.policies import policy_label
from kinetics.tables.table import Table, Value

MAJORITY_TRIALS: Final = (8, 32)
MAJORITY_DRAWS: Final = 200


def accuracy_tables(sets: Sequence[SampleSet], *, seed: int) -> list[Table]:
    """One row per sample set, and one per sample set and generation budget."""
    columns = (
        "model", "dataset", "attention", "lengths", "questions", "trials", "mean_generated", "pass_at_1_low",
        "pass_at_1_high", *(f"pass_at_{n}" for n in TRIALS), *(f"majority_at_{n}" for n in MAJORITY_TRIALS),
    )  # fmt: skip
    rows = tuple((*_identity(samples), *_scores(samples, seed=seed)) for samples in sets)
    by_budget = tuple(row for samples in sets for row in _budget_rows(samples))
    budget_columns = ("model", "dataset", "attention", "lengths", "max_generated", "accuracy", "mean_generated")
    return [
        Table(name="accuracy", columns=columns, rows=rows),
        Table(name="accuracy_by_length", columns=budget_columns, rows=by_budget, prints_markdown=False),
    ]


def _identity(samples: SampleSet) -> tuple[Value, ...]:
    lengths = "estimated" if samples.has_estimated_lengths else "tokens"
    return (samples.model, samples.dataset, policy_label(samples.policy), lengths)


def _scores(samples: SampleSet, *, seed: int) -> tuple[Value, ...]:
    per_question = np.array([question.num_correct / question.num_trials for question in samples.questions])
    low, high = bootstrap_interval(per_question, seed=seed)
    coverages = (mean_coverage(samples, trials=n) if n <= samples.min_trials else None for n in TRIALS)
    majorities = (_mean_majority(samples, n, seed=seed) if n <= samples.min_trials else None for n in MAJORITY_TRIALS)
    counts = (len(samples.questions), samples.min_trials, mean_length(samples))
    return (*counts, float(low), float(high), *coverages, *majorities)


def _mean_majority(samples: SampleSet, trials: int, *, seed: int) -> float:
    shares = [majority(q, trials=trials, num_draws=MAJORITY_DRAWS, seed=seed) for q in samples.questions]
    return sum(shares) / len(shares)


def _budget_rows(samples: SampleSet) -> list[tuple[Value, ...]]:
    rows = []
    for budget in GENERATION_BUDGETS:
        accuracy = float(np.mean([np.mean(correct_within(q, budget)) for q in samples.questions]))
        generated = float(np.mean([np.mean(np.minimum(q.lengths, budget)) for q in samples.questions]))
        rows.append((*_identity(samples), budget, accuracy, generated))
    return rows
