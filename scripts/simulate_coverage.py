"""What the law's 95 % intervals cover: questions drawn anew from real ones, answers drawn anew, the truth known.

    python scripts/simulate_coverage.py SAMPLES.csv --out docs/interval_coverage.csv

The population is the questions of a sample table, each with its share of right answers and mean length under each
model. A draw is a benchmark: so many questions of it, 80 answers to each. What is printed of the draw is held against
what the population gives the same strategies. Sparse twins of the models, paired by question, are made: other
accuracy, longer answers, cheaper tokens.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kinetics.law.choices import Choices, choose, cost_grid, lead_over_dense, switch_points
from kinetics.law.frontier import Switch, best_within, cost_to_reach
from kinetics.law.intervals import (
    Estimate,
    FloatArray,
    Interval,
    difference_interval,
    mean_interval,
    ratio_interval,
)
from kinetics.law.strategies import Strategy, StrategyTable
from kinetics.samples.sample_tables import read_sample_table
from kinetics.specs.policies import AttentionPolicy, Dense, TopK

NUM_ANSWERS: Final = 80
TRIALS: Final = (1, 2, 4, 8, 16, 32)
LENGTH_SPREAD: Final = 0.5
"""Standard deviation of the logarithm of an answer's length, given its question."""
CONTEXT_TOKENS: Final = 16_000.0
"""Generated tokens whose attention costs as much as their weights."""
ROUNDING: Final = 1e-9
MIN_DRAWS: Final = 200
"""Fewer say too little of one quantity for it to be the least covered."""
COLUMNS: Final = ("kind", "questions", "what", "draws", "covered")
Tally = dict[tuple[str, str], list[bool]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Population:
    """Questions under models, dense ones first and their sparse twins after them.

    `solved`, `tokens`, `cost`: chance that an answer is right, its mean length and cost; [num_questions, num_models].
    """

    names: tuple[str, ...]
    policies: tuple[AttentionPolicy, ...]
    solved: FloatArray
    tokens: FloatArray
    cost: FloatArray

    @property
    def num_dense(self) -> int:
        """Models; each has a twin."""
        return len(self.names) // 2

    def table(self, index: NDArray[np.int64], chance_of: FloatArray, cost: FloatArray) -> StrategyTable:
        """The strategies of an index of models; `chance_of`: pass@k, [num_questions, num_models, num_trials]."""
        counts = np.array(TRIALS)
        questions = len(cost)
        return StrategyTable(
            strategies=tuple(
                Strategy(model=self.names[i], policy=self.policies[i], trials=n, max_generated=None)
                for i in index
                for n in TRIALS
            ),
            accuracy=chance_of[:, index].reshape(questions, -1),
            tokens=np.zeros((questions, len(index) * len(TRIALS))),
            cost={"": (cost[:, index, None] * counts).reshape(questions, -1)},
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draw:
    """What one benchmark saw: pass@k [num_questions, num_models, num_trials], mean tokens and costs of an answer."""

    passed: FloatArray
    solved: FloatArray
    tokens: FloatArray
    cost: FloatArray


def with_twins(names: Sequence[str], solved: FloatArray, tokens: FloatArray, *, seed: int = 0) -> Population:
    """A population of models and their made sparse twins."""
    rng = np.random.default_rng(seed)
    per_token = np.array([float(found.group(1)) if (found := re.search(r"(\d+)[Bb]", name)) else 8.0 for name in names])
    odds = np.clip(solved, 0.01, 0.99)
    shift = -0.3 + 0.5 * rng.standard_normal(solved.shape)
    twin_solved = 1 / (1 + (1 / odds - 1) * np.exp(-shift))
    twin_tokens = tokens * np.exp(0.1 + 0.2 * rng.standard_normal(tokens.shape))
    cost = per_token * (tokens + tokens**2 / (2 * CONTEXT_TOKENS))
    twin_cost = per_token * (twin_tokens * 1.1)
    return Population(
        names=(*names, *names),
        policies=(Dense(),) * len(names) + (TopK(kv_budget=256),) * len(names),
        solved=np.concatenate([solved, twin_solved], axis=1),
        tokens=np.concatenate([tokens, twin_tokens], axis=1),
        cost=np.concatenate([cost, twin_cost], axis=1) * 1e-3,
    )


def read_population(path: Path) -> Population:
    """The questions of a sample table."""
    sets = read_sample_table(path, prompt_len=0).sets
    ids = sorted(sets[0].question_ids)
    by_id = [{question.question_id: question for question in one.questions} for one in sets]
    solved = np.array([[own[key].num_correct / own[key].num_trials for own in by_id] for key in ids])
    tokens = np.array([[np.mean(own[key].lengths) for own in by_id] for key in ids])
    return with_twins([one.model for one in sets], solved, tokens)


def pass_at(num_right: FloatArray, counts: Sequence[int], *, num_answers: int) -> FloatArray:
    """Unbiased pass@k for each k, on a new last axis."""
    wrong = num_answers - num_right
    steps = np.arange(max(counts))
    none_right = np.cumprod(np.clip((wrong[..., None] - steps) / (num_answers - steps), 0, 1), axis=-1)
    return np.asarray(1 - none_right[..., np.array(counts) - 1])


def draw_benchmark(population: Population, num_questions: int, rng: np.random.Generator) -> Draw:
    """So many questions of a population, asked and answered."""
    chosen = rng.integers(len(population.solved), size=num_questions)
    num_right = rng.binomial(NUM_ANSWERS, population.solved[chosen])
    error = np.exp(LENGTH_SPREAD / np.sqrt(NUM_ANSWERS) * rng.standard_normal(num_right.shape))
    return Draw(
        passed=pass_at(num_right, TRIALS, num_answers=NUM_ANSWERS),
        solved=num_right / NUM_ANSWERS,
        tokens=population.tokens[chosen] * error,
        cost=population.cost[chosen] * error,
    )


def coverage_of(population: Population, num_questions: int, num_draws: int, *, seed: int = 0) -> Tally:
    """Whether each interval of each draw held the truth, by its kind and what it is of."""
    rng = np.random.default_rng(seed)
    truth = Draw(
        passed=1 - (1 - population.solved[:, :, None]) ** np.array(TRIALS),
        solved=population.solved,
        tokens=population.tokens,
        cost=population.cost,
    )
    found: Tally = defaultdict(list)
    for number in range(num_draws):
        draw = draw_benchmark(population, num_questions, rng)
        for kind, what, is_covered in _checks(population, truth, draw):
            found[kind, what].append(is_covered)
        if sys.stderr.isatty():
            print(f"\r{num_questions} questions: {number + 1} of {num_draws}", end="", file=sys.stderr)
    return found


def _checks(population: Population, truth: Draw, draw: Draw) -> Iterator[tuple[str, str, bool]]:
    yield from _means(population, truth, draw)
    yield from _pairs(population, truth, draw)
    yield from _frontiers(population, truth, draw)


def _means(population: Population, truth: Draw, draw: Draw) -> Iterator[tuple[str, str, bool]]:
    """pass@k of every dense model."""
    own = slice(0, population.num_dense)
    inside = _holds(mean_interval(draw.passed[:, own]), truth.passed[:, own].mean(axis=0))
    for model, row in zip(population.names, inside, strict=False):
        for n, is_covered in zip(TRIALS, row, strict=True):
            yield "pass@k", f"{model} k={n}", bool(is_covered)


def _pairs(population: Population, truth: Draw, draw: Draw) -> Iterator[tuple[str, str, bool]]:
    """A model's sparse answers against its dense ones."""
    half = population.num_dense
    for i in range(half):
        gain, true_gain = (one.solved[:, i + half] - one.solved[:, i] for one in (draw, truth))
        yield "gain of pass@1", population.names[i], bool(_holds(difference_interval(gain), true_gain.mean()))
        for kind, sides in (("cost ratio", ("cost",)), ("token ratio", ("tokens",)), ("per token", ("cost", "tokens"))):
            (upper, lower), (true_upper, true_lower) = (_sides(one, sides, i, half) for one in (draw, truth))
            true_ratio = np.prod(true_upper.mean(axis=0)) / np.prod(true_lower.mean(axis=0))
            yield kind, population.names[i], bool(_holds(ratio_interval(upper, lower), true_ratio))


def _sides(one: Draw, names: Sequence[str], dense: int, half: int) -> tuple[FloatArray, FloatArray]:
    """Numerators and denominators of sparse over dense; of a second quantity, dense over sparse."""
    values = [getattr(one, name) for name in names]
    upper = [own[:, dense + (half if i == 0 else 0)] for i, own in enumerate(values)]
    lower = [own[:, dense + (0 if i == 0 else half)] for i, own in enumerate(values)]
    return np.stack(upper, axis=1), np.stack(lower, axis=1)


def _frontiers(population: Population, truth: Draw, draw: Draw) -> Iterator[tuple[str, str, bool]]:
    """The choices over all models, the lead of sparse ones, the cost ratio, and where the best model changes."""
    dense_index, sparse_index = np.split(np.arange(len(population.names)), 2)
    tables = [population.table(index, draw.passed, draw.cost) for index in (dense_index, sparse_index)]
    true_tables = [population.table(index, truth.passed, truth.cost) for index in (dense_index, sparse_index)]
    grid = cost_grid(*(table.cost[""] for table in true_tables))
    found = [choose(table, "", grid) for table in tables]
    true_named = [_true_accuracy(table, one.best) for table, one in zip(true_tables, found, strict=True)]
    for name, one, true_accuracy in zip(("dense", "sparse"), found, true_named, strict=True):
        inside = _holds(one.interval, true_accuracy)
        affordable = [best is not None for best in one.best]
        for place in range(0, grid.size, 6):
            if affordable[place]:
                yield "frontier", f"{name} at {grid[place]:.3g}", bool(inside[place])
    lead = lead_over_dense(*found)
    place = int(np.searchsorted(grid, lead.cost))
    true_gain = 100 * (true_named[1] - true_named[0])[place]
    yield "largest gain", "best of n", lead.points.low <= true_gain <= lead.points.high
    yield "frontiers' cost ratio", "best of n", _holds_ratio(found[0], lead.cost_ratio, true_named[0], true_tables[1])
    models = [
        (population.names[i], choose(population.table(np.array([i]), draw.passed, draw.cost), "", grid))
        for i in dense_index
    ]
    true_curves = {
        population.names[i]: _true_curve(population.table(np.array([i]), truth.passed, truth.cost), grid)
        for i in dense_index
    }
    for before, switch in pairwise(switch_points(models)):
        yield "switch", "best of n", _holds_switch(true_curves, grid, before.model, switch)


def _true_accuracy(table: StrategyTable, named: Sequence[Strategy | None]) -> FloatArray:
    mean = dict(zip(table.strategies, table.accuracy.mean(axis=0).tolist(), strict=True))
    return np.array([0.0 if strategy is None else mean[strategy] for strategy in named])


def _true_curve(table: StrategyTable, grid: FloatArray) -> FloatArray:
    """The accuracy that a model really reaches within each cost."""
    accuracy = table.accuracy.mean(axis=0)
    return best_within(table.cost[""].mean(axis=0), accuracy, grid * (1 + 1e-12)).reached(accuracy)


def _holds(interval: Interval, value: FloatArray | float) -> NDArray[np.bool_]:
    return np.asarray((interval.low <= value) & (value <= interval.high))


def _holds_ratio(dense: Choices, ratio: Estimate, true_dense: FloatArray, true_sparse: StrategyTable) -> bool:
    """Whether the ratio holds what sparse really pays less for what the named dense strategy really reaches."""
    cost = cost_to_reach(float(dense.accuracy.max()), dense, on_grid=True)
    wanted = true_dense[np.searchsorted(dense.cost, cost)]
    able = np.flatnonzero(_true_curve(true_sparse, dense.cost) >= wanted - ROUNDING)
    true_ratio = cost / dense.cost[able[0]] if able.size else 0.0
    return ratio.low - ROUNDING <= true_ratio <= ratio.high + ROUNDING


def _holds_switch(curves: Mapping[str, FloatArray], grid: FloatArray, before: str, switch: Switch) -> bool:
    """Whether the two models really draw level between the two costs that are named."""
    assert switch.low is not None
    assert switch.high is not None
    lead = curves[switch.model] - curves[before]
    low = max(0, int(np.searchsorted(grid, switch.low, side="right")) - 1)
    high = min(grid.size - 1, int(np.searchsorted(grid, switch.high)))
    return bool(lead[low] <= ROUNDING and lead[high] >= -ROUNDING)


def summary(rows: Sequence[tuple[str, int, str, int, float]]) -> str:
    """A line for each kind and number of questions: mean and least coverage."""
    groups: dict[tuple[str, int], list[tuple[int, float, str]]] = defaultdict(list)
    for kind, questions, what, draws, covered in rows:
        groups[kind, questions].append((draws, covered, what))
    lines = []
    for (kind, questions), cells in groups.items():
        total = sum(draws for draws, _, _ in cells)
        mean = sum(draws * covered for draws, covered, _ in cells) / total
        often = [(covered, what) for draws, covered, what in cells if draws >= MIN_DRAWS] or [(mean, "")]
        lines.append(
            f"{kind:22} {questions:3} questions: {mean:.1%} in the mean, {min(often)[0]:.1%} at {min(often)[1]}"
        )
    return "\n".join(lines)


def main() -> None:
    """Simulate, write one row per quantity, and print what each kind covers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", type=Path, help="sample table (.csv) whose questions are the population")
    parser.add_argument("--questions", type=int, nargs="+", default=[30, 60])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--out", type=Path, required=True, help="CSV to write")
    given = parser.parse_args()
    population = read_population(given.samples)
    rows = [
        (kind, questions, what, len(held), sum(held) / len(held))
        for questions in given.questions
        for (kind, what), held in coverage_of(population, questions, given.draws).items()
    ]
    with given.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((*row[:-1], f"{row[-1]:.4f}") for row in rows)
    print(summary(rows))


if __name__ == "__main__":
    main()
