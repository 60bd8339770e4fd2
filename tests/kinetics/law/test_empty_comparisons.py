"""Nothing to compare prints as nothing: no infinity, no zero, in any table of the law, whatever the samples are."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinetics.law.charging import charging_of
from kinetics.law.cost_models import EFlopCost
from kinetics.law.document import law_document
from kinetics.law.intervals import Estimate
from kinetics.law.logs import log_tables
from kinetics.law.measured_costs import EFLOP, MEASURED
from kinetics.law.request import LawRequest
from kinetics.law.samples import sample_report
from kinetics.law.strategies import tabulate
from kinetics.law.tables import law_tables, ratio_values
from kinetics.law.terminal import text_for_people
from kinetics.samples.sample_set import Question, SampleSet
from kinetics.specs.models import find_model
from kinetics.specs.policies import BlockTopK, Dense
from kinetics.tables.display import table_records
from kinetics.tables.quantity import Quantity, show
from kinetics.tables.table import Table, format_value

MODEL = find_model("Qwen3-0.6B")
NO_NUMBER = re.compile(r"(?<![a-z])-?(?:inf|nan)(?:inity)?(?![a-z])", re.IGNORECASE)


@st.composite
def sets(draw):
    """Dense and sparse answers to one to four questions, as hopeless, alike or easy as they come."""
    num_questions, num_trials = draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 4]))

    def question(number):
        right = draw(st.lists(st.booleans(), min_size=num_trials, max_size=num_trials))
        lengths = draw(st.lists(st.integers(1, 300), min_size=num_trials, max_size=num_trials))
        return Question(
            question_id=str(number), prompt_len=10, lengths=tuple(lengths), is_correct=tuple(right),
            answers=tuple("1" if one else "2" for one in right),
        )  # fmt: skip

    policies = (Dense(), BlockTopK(block_size=16, top_blocks=2))
    return [
        SampleSet(
            model=MODEL.name, dataset="d", policy=policy, has_estimated_lengths=False,
            questions=tuple(question(number) for number in range(num_questions)),
        )
        for policy in policies[draw(st.integers(0, 1)) :]
    ]  # fmt: skip


def check(tables):
    for table in tables:
        for text in (table.as_csv(), table.as_markdown(), text_for_people(table)):
            assert not NO_NUMBER.search(text), (table.name, text)
        for row in table_records(table):
            if row.get("costs_compared") == 0:
                compared = ("sparse_below", "clearly_below", "smallest_gain_points", "largest_gain_points")
                assert {row[name] for name in compared} == {None}
            assert not any(
                row[name] == 0 for name in row if name.endswith(("cost_ratio", "cost_ratio_at_dense_maximum"))
            )


@settings(max_examples=12, deadline=None)
@given(sets())
def test_no_table_of_samples_shows_a_number_that_is_none(found):
    report = sample_report(found, {MODEL.name: MODEL}, charging_of(LawRequest(out=None)), source="made")
    check(law_tables(report))
    for task in law_document(report)["tasks"]:
        for gain in task["gains"]:
            assert gain["cost_ratio"]["value"] is None or gain["cost_ratio"]["value"] > 0


@settings(max_examples=25, deadline=None)
@given(sets())
def test_no_table_of_logs_shows_a_number_that_is_none(found):
    costs = {EFLOP: EFlopCost(model=MODEL), MEASURED: EFlopCost(model=MODEL)}

    def costs_of(_):
        return costs

    table = tabulate(found, trials=(1, 2, 4), caps_of=lambda _: [100, 300], cost_models_of=costs_of)
    made = log_tables([FakeLog(samples) for samples in found], table, costs_of)
    check(made)


class FakeLog:
    """A log of which only the samples are asked."""

    def __init__(self, samples):
        self.file = self
        self.samples = samples


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, np.float64("inf")])
def test_what_is_no_number_is_blank_in_every_form(value):
    assert format_value(value) == ""
    assert all(show(value, quantity) == "-" for quantity in Quantity)
    table = Table(name="t", columns=("a", "b"), rows=((value, 1.0),))
    assert table.as_csv() == "a,b\n,1\n"


@pytest.mark.parametrize(
    ("ratio", "dense_maximum", "expected"),
    [
        (Estimate(value=2.0, low=1.0, high=3.0), 0.5, (2.0, 1.0, 3.0)),
        (Estimate(value=0.0, low=0.0, high=3.0), 0.5, (None, None, None)),  # sparse never gets there
        (Estimate(value=1.0, low=1.0, high=1.0), 0.0, (None, None, None)),  # dense solves nothing
        (Estimate(value=2.0, low=0.0, high=math.inf), 0.5, (2.0, None, None)),  # too few questions for an interval
    ],
)
def test_a_ratio_that_does_not_exist_is_blank(ratio, dense_maximum, expected):
    assert ratio_values(ratio, dense_maximum) == expected
