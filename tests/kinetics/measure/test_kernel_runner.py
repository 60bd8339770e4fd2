"""What one provider does wrong stays its own; what it plans is timed apart."""

from dataclasses import replace

import pytest

from kinetics.cases.kernels import CacheState, Case, GridOptions, GridSize, cells
from kinetics.machine.conditions import session_conditions
from kinetics.machine.device import resolve_device
from kinetics.measure import kernel_runner
from kinetics.measure.kernel_runner import CellRunner
from kinetics.measure.timing import CpuEvictor
from kinetics.results.kernel_row import Measured
from kinetics.specs.policies import PolicyKind
from kinetics_kernels.peers.torch_sdpa import PROVIDER as SDPA


@pytest.fixture(autouse=True)
def _small_cache(monkeypatch):
    monkeypatch.setattr(kernel_runner, "last_level_cache_bytes", lambda device: 2**20)


@pytest.fixture
def cases():
    options = GridOptions(
        size=GridSize.SMOKE, device_kind="cpu", dtype="float32", models=["Qwen3-0.6B"], batches=[1], context_lens=[64]
    )
    cell = cells(options)[0]
    return [
        Case(cell=cell, operation=PolicyKind.DENSE, provider=name, kv_budget=None) for name in ("ours", "torch_sdpa")
    ]


def run(cases):
    return CellRunner(resolve_device("cpu"), session_conditions()).run(cases[0].cell, cases)


def test_an_exception_in_one_provider_leaves_the_others_measured(cases, monkeypatch):
    def fail(self, request):
        raise RuntimeError("no such symbol")

    monkeypatch.setattr(type(SDPA), "prepare", fail)
    ours, sdpa = (run(cases)[case] for case in cases)
    assert isinstance(ours, Measured)
    assert isinstance(sdpa, RuntimeError)


def test_planning_is_timed_apart_and_never_inside_a_sample(cases, monkeypatch):
    plans, prepare = [], type(SDPA).prepare

    def with_plan(self, request):
        return replace(prepare(self, request), plan=lambda: plans.append(1))

    monkeypatch.setattr(type(SDPA), "prepare", with_plan)
    ours, sdpa = (run(cases)[case] for case in cases)
    assert ours.plan_s is None
    assert sdpa.plan_s > 0
    assert len(plans) == 2 * (1 + 5)


@pytest.mark.parametrize("cache_state", CacheState)
def test_cold_cells_are_evicted_between_calls_and_warm_ones_are_not(cases, monkeypatch, cache_state):
    evicted_bytes = []

    def evictor(cache_bytes):
        evict = CpuEvictor(cache_bytes)

        def noting():
            evicted_bytes.append(cache_bytes)
            return evict()

        return noting

    monkeypatch.setattr(kernel_runner, "CpuEvictor", evictor)
    cell = replace(cases[0].cell, cache_state=cache_state)
    of_state = [replace(case, cell=cell) for case in cases]
    found = run(of_state)[of_state[0]]
    is_cold = cache_state is CacheState.COLD
    assert (len(evicted_bytes) > len(found.samples_s)) is is_cold
    assert (found.canary_bytes_per_s is not None) is is_cold
