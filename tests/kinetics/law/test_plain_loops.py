"""Accuracies, costs, frontiers and oracles of a law equal plain loops over questions, on made and on real samples."""

from __future__ import annotations

import csv
import os
import random
from math import comb
from pathlib import Path

import numpy as np
import pytest

from kinetics.cost.published import TRIALS
from kinetics.law.charging import charging_of
from kinetics.law.claims import BEST_OF_N, LONG_COT
from kinetics.law.request import LawRequest
from kinetics.law.samples import sample_report
from kinetics.law.strategies import caps_to_longest
from kinetics.samples.sample_tables import COLUMNS, read_sample_table
from kinetics.specs.models import find_model

REFERENCE = os.environ.get("KINETICS_REFERENCE_DATA")
KNOWN = ("Qwen3-4B", "Qwen3-14B")


@pytest.fixture(scope="module", params=["made", "real"])
def sets(request, tmp_path_factory):
    if request.param == "made":
        path = tmp_path_factory.mktemp("made") / "a.csv"
        rng = random.Random(5)
        rows = [
            (model, "d", f"q{question}", trial, rng.randint(300, 9000), "tokens", "1", "1", int(rng.random() < chance))
            for model in KNOWN
            for question, chance in enumerate((0.0, 0.2, 0.5, 0.9, 1.0, 0.7))
            for trial in range(9)
        ]
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *rows])
    elif REFERENCE:
        path = Path(REFERENCE) / "aime24_samples.csv"
    else:
        pytest.skip("KINETICS_REFERENCE_DATA is not set: it names the folder with aime24_samples.csv")
    return [one for one in read_sample_table(path, prompt_len=200).sets if one.model in KNOWN]


@pytest.mark.parametrize("task", [BEST_OF_N, LONG_COT])
def test_curves_equal_plain_loops(sets, tmp_path, task):
    charging = charging_of(LawRequest(out=tmp_path))
    report = sample_report(sets, {name: find_model(name) for name in KNOWN}, charging, source="loops")
    results = {one.model: one for one in next(one for one in report.tasks if one.task == task).models}
    caps = caps_to_longest(sets)
    for samples in sets:
        law = charging.law(find_model(samples.model))
        strategies = []
        for trials, cap in [(n, None) for n in TRIALS] if task == BEST_OF_N else [(1, cap) for cap in caps]:
            if trials > samples.min_trials:
                continue
            scores, costs = [], []
            for question in samples.questions:
                lengths = [length if cap is None else min(length, cap) for length in question.lengths]
                right = sum(
                    ok and (cap is None or length <= cap)
                    for ok, length in zip(question.is_correct, question.lengths, strict=True)
                )
                total = len(lengths)
                scores.append(1 - comb(total - right, trials) / comb(total, trials))
                costs.append(float(np.ravel(law.mean_costs(
                    samples.policy, prompt_len=question.prompt_len, lengths=lengths, trials=[trials]
                ))[0]))  # fmt: skip
            strategies.append((scores, costs))
        result = results[samples.model]
        assert result.choices is not None
        assert result.oracle is not None
        for i, limit in enumerate(result.choices.cost):
            within = limit * (1 + 1e-12)
            best = max((sum(s) / len(s) for s, c in strategies if sum(c) / len(c) <= within), default=0.0)
            oracle = [
                max((s[q] for s, c in strategies if c[q] <= within), default=0.0) for q in range(len(samples.questions))
            ]
            assert result.choices.chosen_accuracy[i] == pytest.approx(best, abs=1e-9)
            assert result.oracle.accuracy[i] == pytest.approx(sum(oracle) / len(oracle), abs=1e-9)
