"""Cases that are compared take turns in the same rounds, whatever was measured before."""

from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from kinetics.bench.outcomes import Outcomes
from kinetics.bench.plan import BenchPlan
from kinetics.bench.progress import SilentProgress
from kinetics.cases.kernels import Case, GridOptions, GridSize, cells
from kinetics.measure.timing import InvalidMeasurementError
from kinetics.specs.policies import PolicyKind

(CELL,) = cells(
    GridOptions(
        size=GridSize.SMOKE,
        device_kind="cpu",
        dtype="float32",
        models=("Qwen3-0.6B",),
        batches=(1,),
        context_lens=(64,),
    )
)
OURS, THEIRS = (
    Case(cell=CELL, operation=PolicyKind.DENSE, provider=name, kv_budget=None) for name in ("ours", "torch_sdpa")
)


def outcomes_of(
    monkeypatch: pytest.MonkeyPatch, impossible: Mapping[Any, str] = MappingProxyType({}), **answers: Any
) -> tuple[Outcomes, BenchPlan, list[list[str]]]:
    """Outcomes on no machine, their plan, and the providers of each cell that was run."""
    ran: list[list[str]] = []

    def run_cell(self: object, cell: object, cases: list[Case]) -> dict[Case, Any]:
        ran.append([case.provider for case in cases])
        return {case: answers.get(case.provider, len(ran)) for case in cases}

    monkeypatch.setattr(Outcomes, "_run_cell", run_cell)
    settings: Any = SimpleNamespace(time_budget_s=60.0)
    plan = BenchPlan(60.0)
    machine: Any = SimpleNamespace(is_probed=True, device=None, why_impossible=impossible.get)
    return Outcomes(settings, plan, machine), plan, ran


def test_a_case_measured_alone_before_is_timed_anew_beside_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes, plan, ran = outcomes_of(monkeypatch)
    plan.expect(OURS, test="first")
    assert outcomes.take(OURS, SilentProgress()) == 1
    assert outcomes.take_together([OURS, THEIRS], "second", SilentProgress()) == [2, 2]
    assert ran == [["ours"], ["ours", "torch_sdpa"]]


def test_what_one_of_them_raised_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes, _, _ = outcomes_of(monkeypatch, torch_sdpa=AssertionError("wrong result"))
    with pytest.raises(AssertionError, match="wrong result"):
        outcomes.take_together([OURS, THEIRS], "test", SilentProgress())


def test_what_physics_forbids_fails_its_test_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes, plan, _ = outcomes_of(monkeypatch, impossible={"too fast": "memory is slower"}, torch_sdpa="too fast")
    plan.select([("a.py", OURS), ("a.py", THEIRS)])
    assert outcomes.take(OURS, SilentProgress()) == 1
    with pytest.raises(InvalidMeasurementError, match="memory is slower"):
        outcomes.take(THEIRS, SilentProgress())
