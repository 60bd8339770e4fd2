"""What others disturbed is measured once more if time is left; what is quiet then takes its place."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_benchmark.stats import Stats

from kinetics.bench import second_look
from kinetics.bench.plan import BenchPlan
from kinetics.bench.progress import SilentProgress
from kinetics.bench.second_look import measure_disturbed_again
from kinetics.cases.kernels import Case, GridOptions, GridSize, cells
from kinetics.results.disturbance import disturbed_rows
from kinetics.specs.policies import PolicyKind
from kinetics_kernels.unavailable import Unavailable

OPTIONS = GridOptions(
    size=GridSize.SMOKE, device_kind="cpu", dtype="float32", models=["Qwen3-0.6B"], batches=[1, 2], context_lens=[64]
)
CASES = [
    Case(cell=cell, operation=PolicyKind.DENSE, provider=name, kv_budget=None)
    for cell in cells(OPTIONS)
    for name in ("ours", "torch_sdpa")
]
NOISE = "other programs took 90 % of the CPUs"


def bench_of(case: Case, disturbed: str | None) -> SimpleNamespace:
    stats = Stats()
    for sample in (3.0, 3.0):
        stats.update(sample)
    row = {"disturbed": disturbed, "median_s": 3.0}
    return SimpleNamespace(fullname=f"x.py::test[{case}]", extra_info=row, stats=stats)


class PretendRun:
    """A run of these cases, whose second measurements answer as told."""

    def __init__(self, answers: Mapping[Case, Any], left_s: float = 60.0) -> None:
        self.plan = BenchPlan(100.0)
        self.plan.select([("x.py", case) for case in CASES])
        self.recorded = {f"x.py::test[{case}]": case for case in CASES}
        self.progress = SilentProgress()
        self.skips: list[Any] = []
        self.measured: list[list[Case]] = []
        self.outcomes = SimpleNamespace(left_s=lambda: left_s, measure=self.measure)
        self._answers = answers

    def measure(self, planned: Any, progress: Any) -> dict[Case, Any]:
        self.measured.append(planned.cases)
        return {case: self._answers.get(case, Unavailable("not asked")) for case in planned.cases}

    def row(self, measured: Any) -> dict[str, Any]:
        return {"disturbed": measured.disturbed, "median_s": 1.0}


def quiet(samples: tuple[float, ...] = (1.0, 1.0, 2.0), disturbed: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(samples_s=samples, disturbed=disturbed)


@pytest.fixture(autouse=True)
def _quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_look, "is_quiet", lambda: True)


@pytest.fixture
def benches() -> list[Any]:
    return [bench_of(CASES[0], NOISE), bench_of(CASES[1], NOISE), bench_of(CASES[2], None), bench_of(CASES[3], None)]


def test_a_disturbed_cell_is_measured_once_more_and_the_quiet_result_is_kept(benches: list[Any]) -> None:
    run: Any = PretendRun({CASES[0]: quiet(), CASES[1]: quiet(disturbed=NOISE)})
    assert measure_disturbed_again(run, benches) == set()
    assert run.measured == [CASES[:2]]
    assert benches[0].extra_info == {"disturbed": None, "median_s": 1.0}
    assert benches[0].stats.data == [1.0, 1.0, 2.0]
    assert benches[0].stats.median == 1.0
    assert benches[1].extra_info == {"disturbed": NOISE, "median_s": 3.0}
    assert benches[1].stats.data == [3.0, 3.0]


def test_without_time_nothing_is_measured_again(benches: list[Any]) -> None:
    run: Any = PretendRun({CASES[0]: quiet()}, left_s=-1.0)
    measure_disturbed_again(run, benches)
    assert run.measured == []
    assert benches[0].extra_info["disturbed"] == NOISE


def test_on_a_machine_that_stays_busy_nothing_is_measured_again(
    benches: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second_look, "is_quiet", lambda: False)
    run: Any = PretendRun({CASES[0]: quiet()})
    measure_disturbed_again(run, benches)
    assert run.measured == []
    assert benches[0].extra_info["disturbed"] == NOISE


def test_what_is_wrong_the_second_time_has_no_row(benches: list[Any]) -> None:
    run: Any = PretendRun({CASES[0]: AssertionError("output errs by 1"), CASES[1]: quiet()})
    assert measure_disturbed_again(run, benches) == {benches[0].fullname}
    assert run.skips[0].reason == "failed in the second measurement: output errs by 1"


def test_a_row_that_failed_its_own_test_is_left_alone(benches: list[Any]) -> None:
    run: Any = PretendRun({CASES[0]: quiet()})
    assert measure_disturbed_again(run, benches[1:]) == set()
    assert benches[0].extra_info["disturbed"] == NOISE


def test_a_file_says_how_many_of_its_rows_were_disturbed() -> None:
    rows = [{"case": "a", "disturbed": None}, {"case": "b", "disturbed": NOISE}, {"case": "c"}]
    assert disturbed_rows(rows) == f"1 of 3 rows, such as b: {NOISE}"
    assert disturbed_rows(rows[:1]) is None
