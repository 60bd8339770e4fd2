"""Cases are measured with those they were selected or asked for with, until their file's share of time is spent."""

from __future__ import annotations

import pytest

from kinetics.bench.plan import BenchPlan
from kinetics.cases.kernels import Case, GridOptions, GridSize, cells
from kinetics.specs.policies import PolicyKind


@pytest.fixture
def cases() -> list[Case]:
    options = GridOptions(
        size=GridSize.SMOKE,
        device_kind="cpu",
        dtype="float32",
        models=["Qwen3-0.6B"],
        batches=[1, 2],
        context_lens=[64],
    )
    return [
        Case(cell=cell, operation=PolicyKind.DENSE, provider=name, kv_budget=None)
        for cell in cells(options)
        for name in ("ours", "torch_sdpa")
    ]


def test_selected_cases_of_one_file_and_cell_are_measured_together(cases: list[Case]) -> None:
    plan = BenchPlan(100.0)
    plan.select([("a.py", case) for case in cases])
    assert plan.cell_of(cases[0]).cases == cases[:2]
    assert plan.cell_of(cases[2]).cases == cases[2:]


def test_files_share_the_time_budget_by_their_cases(cases: list[Case]) -> None:
    plan = BenchPlan(100.0)
    plan.select([("a.py", cases[0]), ("b.py", cases[1]), ("b.py", cases[2]), ("b.py", cases[3])])
    assert [plan.cell_of(case).deadline_s for case in cases] == [25.0, 100.0, 100.0, 100.0]


def test_a_case_that_a_test_makes_is_measured_alone_unless_it_was_selected(cases: list[Case]) -> None:
    plan = BenchPlan(100.0)
    plan.select([("a.py", case) for case in cases[:2]])
    plan.expect(cases[0], test="mine")
    plan.expect(cases[2], test="mine")
    assert plan.cell_of(cases[0]).cases == cases[:2]
    assert plan.cell_of(cases[2]).cases == [cases[2]]
    assert not plan.knows(cases[3])
