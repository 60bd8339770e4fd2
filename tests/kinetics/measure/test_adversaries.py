"""Providers that cheat leave no measurement; the honest ones beside them are measured all the same."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
import torch

from kinetics.cases.kernels import CacheState, Case, GridOptions, GridSize, cells
from kinetics.machine.conditions import session_conditions
from kinetics.machine.device import resolve_device
from kinetics.measure import kernel_runner, timing
from kinetics.measure.kernel_runner import CellRunner
from kinetics.results.kernel_row import Measured
from kinetics.specs.policies import PolicyKind
from kinetics_kernels.peers.naive_sparse import PROVIDER as NAIVE
from kinetics_kernels.peers.torch_sdpa import PROVIDER as SDPA
from tests.support.adversaries import CHEATS

CHEATED = {PolicyKind.DENSE: SDPA, PolicyKind.BLOCK_TOPK: NAIVE}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(kernel_runner, "last_level_cache_bytes", lambda device: 2**20)
    clock, stopwatch, threads = time.perf_counter, timing._clock, torch.get_num_threads()
    yield
    time.perf_counter, timing._clock = clock, stopwatch
    torch.set_num_threads(threads)


def cases_of(operation: PolicyKind, state: CacheState) -> list[Case]:
    options = GridOptions(
        size=GridSize.SMOKE, device_kind="cpu", dtype="float32", models=["Qwen3-0.6B"], batches=[2],
        context_lens=[203], cache_states=[state],
    )  # fmt: skip
    budget = 64 if operation.has_kv_budget else None
    names = ("ours", CHEATED[operation].name)
    return [Case(cell=cells(options)[0], operation=operation, provider=name, kv_budget=budget) for name in names]


@pytest.mark.parametrize(
    ("name", "operation", "state"),
    [
        *((name, PolicyKind.DENSE, CacheState.COLD) for name in CHEATS),
        *((name, PolicyKind.DENSE, CacheState.WARM) for name in ("memo on content", "honest when watched")),
        *((name, PolicyKind.BLOCK_TOPK, CacheState.COLD) for name in ("memo on pointer", "work after return")),
    ],
)
def test_a_cheat_leaves_no_row(
    name: str, operation: PolicyKind, state: CacheState, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheat, reason = CHEATS[name]
    provider = CHEATED[operation]
    prepare = type(provider).prepare
    monkeypatch.setattr(type(provider), "prepare", lambda self, request: cheat(request, prepare(self, request)))
    ours, theirs = cases_of(operation, state)
    outcomes = CellRunner(resolve_device("cpu"), session_conditions()).run(ours.cell, [ours, theirs])
    assert isinstance(outcomes[theirs], AssertionError), outcomes[theirs]
    assert re.search(f"{reason}|results are remembered", str(outcomes[theirs])), outcomes[theirs]
    blames_all = name in ("inputs overwritten later", "patched clock", "patched stopwatch")
    assert blames_all or isinstance(outcomes[ours], Measured)


@pytest.mark.parametrize("operation", CHEATED)
def test_the_honest_are_measured(operation: PolicyKind) -> None:
    cases = cases_of(operation, CacheState.COLD)
    outcomes = CellRunner(resolve_device("cpu"), session_conditions()).run(cases[0].cell, cases)
    assert outcomes.keys() == set(cases)
    assert [one for one in outcomes.values() if not isinstance(one, Measured)] == []
