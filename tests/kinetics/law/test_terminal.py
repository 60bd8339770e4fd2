"""What a terminal shows of the law: an answer in words, shares and times with units, nothing that is empty."""

from __future__ import annotations

from typing import Any

import pytest

from kinetics.law.tables import STRATEGY_COLUMNS
from kinetics.law.terminal import text_for_people
from kinetics.tables.table import Table

STRATEGY: dict[str, Any] = {
    "model": "Qwen3-8B", "attention": "dense", "lengths": "tokens", "rule": "pass", "agree": None,
    "max_generated": None, "trials": 4, "answers_right": 0.5, "answers_cut_off": 0.25, "answers_wrong": 0.25,
}  # fmt: skip


def answer(**changes: Any) -> str:
    row = {"if": "answers are checked", "accuracy": 0.4751, "low": 0.301, "high": 0.58, "cost_tera_eflop": 1e7,
           "seconds": 3.21, **STRATEGY, **changes}  # fmt: skip
    return text_for_people(Table(name="answer", columns=tuple(row), rows=(tuple(row.values()),)))


def test_a_strategy_is_as_the_tables_have_it() -> None:
    assert set(STRATEGY) == set(STRATEGY_COLUMNS)


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        ({"trials": 1, "max_generated": 6144}, "one answer to 6,144"),
        ({}, "best of 4"),
        ({"max_generated": 8192}, "best of 4 to 8,192"),
        ({"rule": "weighted_majority", "trials": 8}, "weighted majority of 8"),
        ({"rule": "early_stop", "trials": 8, "agree": 3}, "8 at most, until 3 agree"),
    ],
)
def test_an_answer_says_what_to_run_in_words(strategy: dict[str, Any], words: str) -> None:
    line = answer(**strategy).splitlines()[-1]
    assert line.endswith(words)
    assert "48 %" in line
    assert "30-58 %" in line
    assert "3.21 s" in line


def test_dollars_are_shown_where_there_are_any() -> None:
    assert "$" not in answer()
    assert "0.0069" in answer(dollars=0.00328, dollars_per_right_answer=0.0069).splitlines()[-1]


def test_estimated_lengths_are_named() -> None:
    assert "Qwen3-8B (lengths estimated)" in answer(lengths="estimated")


def test_a_table_without_rows_is_not_shown_nor_a_column_without_values() -> None:
    assert text_for_people(Table(name="gains", columns=("task", "low"), rows=())) == ""
    shown = text_for_people(
        Table(name="best_models", columns=("from_seconds", "level_with", "accuracy"), rows=((2e-3, "", 0.5),))
    )
    assert [line.split() for line in shown.splitlines()[2:]] == [
        ["from", "seconds", "accuracy"],
        ["2", "ms", "50", "%"],
    ]
