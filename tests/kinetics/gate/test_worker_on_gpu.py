"""What a worker of the gate does on a GPU, on a pretend one: rotates within the memory, and times no launches."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kinetics.gate import worker as module
from kinetics.gate.cases import GateGrid, gate_cases
from kinetics.measure import timing
from tests.support.pretend_device import GIB, PretendDevice

CALL_S = 20e-6
CANARY_S = 350e-6


class PretendBuffer:
    """The canary's stream: its pieces take their share of the whole."""

    def __init__(self, device: PretendDevice, length: int = 2**28, share: float = 1.0) -> None:
        self._device, self._length, self._share = device, length, share

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, piece: slice) -> PretendBuffer:
        length = piece.stop
        return PretendBuffer(self._device, length, self._share * length / self._length)

    def sum(self) -> None:
        self._device.launch(CANARY_S * self._share)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> PretendDevice:
    return PretendDevice().install(monkeypatch)


@pytest.fixture
def make_worker(device: PretendDevice, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A worker whose door prepares a case of these sizes."""
    monkeypatch.setattr("torch.ones", lambda count, device: PretendBuffer(pretend, count))
    pretend = device

    def make(*, call_bytes: int, buffer_bytes: int) -> module.Worker:
        def prepare(spec: object, torch_name: str, seed: int) -> Any:
            pretend.allocate(buffer_bytes)
            work = {"num_bytes": call_bytes, "flop": 1, "num_launches": 1}
            return SimpleNamespace(call=lambda: pretend.launch(CALL_S), prove=lambda: 0.0, work=work)

        door = SimpleNamespace(
            VERSION=1,
            prepare=prepare,
            describe=lambda name: {
                "torch_name": "cuda:0",
                "device_kind": "cuda",
                "last_level_cache_bytes": pretend.l2_bytes,
            },
        )
        monkeypatch.setattr(module, "_open_door", lambda root: door)
        monkeypatch.setattr(module, "_load_beside", lambda name: timing)
        monkeypatch.setattr("time.perf_counter", pretend.clock)
        return module.Worker(SimpleNamespace(), "cuda")

    return make


def test_a_case_that_touches_little_of_a_large_cache_leaves_room_for_its_twin(device, make_worker):
    append = make_worker(call_bytes=131_072, buffer_bytes=GIB)
    append.prepare({}, seed=1)
    assert 2 <= device.allocated_bytes // GIB <= 32  # 64 whole caches would be 64 GiB for one side of two


def test_every_case_of_the_gate_fits_twice_beside_its_canaries(device):
    for case in gate_cases(GateGrid.GATE, "cuda"):
        shape = case.case.cell
        kv_bytes = 2 * 2 * shape.batch * shape.context_len * shape.model.num_kv_heads * shape.model.head_dim
        kv_bytes *= getattr(case.case, "num_layers", 1)
        budget = int(module._MEMORY_SHARE * device.memory_bytes)
        buffers = timing.num_rotating_buffers(device.l2_bytes, 1, buffer_bytes=kv_bytes, budget_bytes=budget)
        assert 2 * (buffers * kv_bytes + module._CUDA_CANARY_BYTES) < 0.95 * device.memory_bytes, case.name


def test_a_sample_holds_the_work_and_not_the_launch_of_it(device, make_worker):
    prepared = make_worker(call_bytes=64 * 2**20, buffer_bytes=GIB)
    prepared.prepare({}, seed=1)
    device.launches.clear()
    reply = prepared.run()
    assert reply["seconds"] == pytest.approx(CALL_S, rel=1e-6)
    assert reply["canary_bytes_per_s"] == pytest.approx(2**30 / CANARY_S, rel=1e-6)


def test_the_host_waits_once_a_sample(device, make_worker):
    prepared = make_worker(call_bytes=64 * 2**20, buffer_bytes=GIB)
    prepared.prepare({}, seed=1)
    before = device.num_waits
    prepared.run()
    assert device.num_waits == before + 1
