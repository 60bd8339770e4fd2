"""The simulation of coverage, run small on made questions; and what the committed run of it says."""

from __future__ import annotations

import csv
from collections import defaultdict

import numpy as np
import pytest

from kinetics.law.intervals import difference_interval
from tests.support.paths import ROOT
from tests.support.scripts import script

simulation = script("simulate_coverage")
COMMITTED = ROOT / "docs" / "interval_coverage.csv"


@pytest.fixture(scope="module")
def population():
    """Questions of which many are always or never solved, as a contest's are, under four models."""
    rng = np.random.default_rng(4)
    difficulty = rng.beta(0.35, 0.25, size=(30, 1))
    solved = np.clip(difficulty + 0.1 * rng.standard_normal((30, 4)), 0, 1)
    tokens = 20_000 * (1.2 - difficulty) * np.exp(0.3 * rng.standard_normal((30, 4)))
    return simulation.with_twins(["A-2B", "B-4B", "C-8B", "D-32B"], solved, tokens)


def test_made_benchmarks_are_covered_as_often_as_intervals_say(population):
    held = defaultdict(list)
    for (kind, _), found in simulation.coverage_of(population, 30, 25, seed=1).items():
        held[kind] += found
    assert {"pass@k", "frontier", "largest gain", "cost ratio"} <= held.keys()
    least = {"largest gain": 0.8, "switch": 0.5}
    low = {kind: np.mean(found) for kind, found in held.items() if np.mean(found) < least.get(kind, 0.9)}
    assert not low


def test_a_draw_is_of_whole_questions(population):
    draw = simulation.draw_benchmark(population, 50, np.random.default_rng(0))
    assert draw.passed.shape == (50, 8, len(simulation.TRIALS))
    assert (np.diff(draw.passed, axis=2) >= 0).all()
    assert draw.passed[:, :, 0] == pytest.approx(draw.solved)


def test_a_narrow_interval_is_found_out(population, monkeypatch):
    def narrow(per_question, *, seed=0):
        interval = real(per_question, seed=seed)
        middle, half = (interval.low + interval.high) / 2, (interval.high - interval.low) / 4
        return type(interval)(low=middle - half, high=middle + half)

    real = simulation.mean_interval
    monkeypatch.setattr(simulation, "mean_interval", narrow)
    found = simulation.coverage_of(population, 30, 8, seed=1)
    assert np.mean([held for (kind, _), of_kind in found.items() if kind == "pass@k" for held in of_kind]) < 0.85


def test_strategies_that_part_on_one_question_of_thirty_are_not_told_apart():
    rng = np.random.default_rng(0)
    parts = np.eye(30)[0]
    intervals = [difference_interval(parts[rng.integers(30, size=30)]) for _ in range(200)]
    assert np.mean([one.low <= parts.mean() <= one.high for one in intervals]) >= 0.93


def committed(kind):
    with COMMITTED.open(newline="", encoding="utf-8") as file:
        rows = [(row["kind"], int(row["draws"]), float(row["covered"])) for row in csv.DictReader(file)]
    return [(draws, covered) for name, draws, covered in rows if name == kind and draws >= simulation.MIN_DRAWS]


@pytest.mark.parametrize("kind", ["pass@k", "gain of pass@1", "frontier", "token ratio"])
def test_the_committed_run_covers_what_the_document_says(kind):
    draws, covered = np.transpose(committed(kind))
    assert 0.93 <= np.average(covered, weights=draws) <= 0.98
    assert covered.min() >= 0.91
