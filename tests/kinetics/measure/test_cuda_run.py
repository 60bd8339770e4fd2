"""How a GPU is timed, on a pretend one: passes long enough, sized on the device, and no launch in a sample."""

from __future__ import annotations

import pytest

from kinetics.measure.rounds import Candidate, RoundPlan, measure_cuda
from kinetics.measure.timing import MIN_REPLAY_S, CudaRun, num_rotating_buffers
from tests.support.pretend_device import PretendDevice


@pytest.fixture
def device(monkeypatch):
    return PretendDevice(host_launch_s=40e-6).install(monkeypatch)


def calls_of(device, seconds, num_buffers):
    return [lambda: device.launch(seconds)] * num_buffers


@pytest.mark.parametrize("num_buffers", [1, 3, 64])
@pytest.mark.parametrize("seconds", [2e-6, 15e-6, 300e-6, 4e-3])
def test_a_replay_is_long_enough_however_slowly_the_host_launches(device, seconds, num_buffers):
    run = CudaRun(calls_of(device, seconds, num_buffers), use_graph=True)
    assert run.num_calls % num_buffers == 0
    assert run.num_calls * seconds >= MIN_REPLAY_S * (1 - 1e-9)
    assert run.num_calls * seconds <= max(2 * MIN_REPLAY_S, 1.01 * num_buffers * seconds)
    assert run.estimated_s == pytest.approx(run.num_calls * seconds, rel=1e-6)


def test_a_sample_is_the_time_of_the_kernels(device):
    seconds = {"short": 3e-6, "long": 2e-3}
    candidates = {name: Candidate(calls=calls_of(device, s, 4)) for name, s in seconds.items()}
    plan = RoundPlan(budget_s=0.1, min_rounds=20, max_rounds=20)
    measured = measure_cuda(candidates, use_graph=True, plan=plan, seed=1)
    assert measured.faults == {}
    for name, s in seconds.items():
        assert len(measured.samples_s[name]) == 20
        assert measured.samples_s[name] == pytest.approx([s] * 20, rel=1e-6)


def test_a_candidate_that_fails_in_its_capture_takes_no_other_down(device):
    tries = []

    def refuses_capture():
        if device.capturing is not None:
            tries.append(1)
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        device.launch(1e-5)

    candidates = {"peer": Candidate(calls=[refuses_capture]), "ours": Candidate(calls=calls_of(device, 1e-5, 2))}
    measured = measure_cuda(candidates, use_graph=True, plan=RoundPlan(budget_s=0.01), seed=1)
    assert list(measured.faults) == ["peer"]
    assert "when stream is capturing" in str(measured.faults["peer"])
    assert len(measured.samples_s["ours"]) >= 20
    assert measured.samples_s["peer"] == []
    assert len(tries) == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 64),
        ({"limit": 8}, 8),
        ({"buffer_bytes": 2**30, "budget_bytes": 2**33}, 8),
        ({"buffer_bytes": 2**34, "budget_bytes": 2**33}, 1),
        ({"buffer_bytes": 0, "budget_bytes": 2**33}, 64),
    ],
)
def test_buffers_rotate_within_their_limit_and_the_memory(options, expected):
    assert num_rotating_buffers(50 * 2**20, 131_072, **options) == expected


def test_one_buffer_that_overflows_the_cache_five_times_is_enough():
    assert num_rotating_buffers(50 * 2**20, 250 * 2**20) == 1
    assert num_rotating_buffers(50 * 2**20, 250 * 2**20 - 1) == 2
