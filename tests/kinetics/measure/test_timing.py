"""Rounds are interleaved, complete and raw."""

import gc
from contextlib import contextmanager

import pytest

from kinetics.measure.rounds import Candidate, RoundPlan, measure_cpu, measure_cuda
from kinetics.measure.timing import CudaRun, host_s, num_rotating_buffers


class Recorder:
    """Calls that write down who was called."""

    def __init__(self):
        self.calls = []

    def call(self, name):
        return Candidate(calls=[lambda: self.calls.append(name)])


def test_every_candidate_gets_one_sample_a_round():
    recorder = Recorder()
    plan = RoundPlan(budget_s=0.0, min_rounds=7)
    measured = measure_cpu({"a": recorder.call("a"), "b": recorder.call("b")}, evict=None, plan=plan, seed=0)
    assert {name: len(samples) for name, samples in measured.samples_s.items()} == {"a": 7, "b": 7}
    assert all(sample > 0 for samples in measured.samples_s.values() for sample in samples)


def test_rounds_interleave_candidates_in_changing_order():
    recorder = Recorder()
    plan = RoundPlan(budget_s=0.0, min_rounds=30)
    measure_cpu({"a": recorder.call("a"), "b": recorder.call("b")}, evict=None, plan=plan, seed=0)
    timed = recorder.calls[4:]  # two warm-up calls each
    rounds = [tuple(timed[i : i + 4]) for i in range(0, len(timed), 4)]
    assert set(rounds) == {("a", "a", "b", "b"), ("b", "b", "a", "a")}  # warm: each call directly after itself


def test_a_cold_round_evicts_before_every_timed_call():
    recorder = Recorder()

    def evict():
        recorder.calls.append("evict")
        return 5.0

    plan = RoundPlan(budget_s=0.0, min_rounds=3)
    measured = measure_cpu({"a": recorder.call("a"), "b": recorder.call("b")}, evict=evict, plan=plan, seed=0)
    timed = recorder.calls[5:]  # two warm-up calls each, and one eviction to estimate its time
    assert timed[::2] == ["evict"] * 6
    assert sorted(timed[1::2]) == ["a"] * 3 + ["b"] * 3
    assert measured.canary_bytes_per_s == [5.0] * 6


def test_garbage_collection_is_off_inside_and_on_again_after_a_failure():
    states = []

    def fail_later():
        states.append(gc.isenabled())
        if len(states) > 3:
            raise RuntimeError("a kernel failed")

    measured = measure_cpu({"a": Candidate(calls=[fail_later])}, evict=None, plan=RoundPlan(budget_s=0.0), seed=0)
    assert states == [True, True, False, False]
    assert str(measured.faults["a"]) == "a kernel failed"
    assert gc.isenabled()


@pytest.mark.parametrize(("round_s", "rounds"), [(1e-6, 200), (0.01, 100), (1.0, 20)])
def test_the_budget_buys_rounds_within_limits(round_s, rounds):
    assert RoundPlan(budget_s=1.0).num_rounds(round_s) == rounds


def test_buffers_rotate_until_the_cache_overflows_five_times():
    assert num_rotating_buffers(50, 300) == 1
    assert num_rotating_buffers(50, 10) == 25
    assert num_rotating_buffers(50, 0) == 64


class FakeCuda:
    """Enough of torch.cuda to follow what `measure_cuda` queues: a clock that each call moves on."""

    def __init__(self, monkeypatch):
        self.now_ms = 0.0
        self.capturing = None
        for name, stand_in in {
            "synchronize": lambda: None,
            "Event": lambda enable_timing: FakeEvent(self),
            "CUDAGraph": lambda: FakeGraph(self),
            "graph": self.capture,
        }.items():
            monkeypatch.setattr(f"torch.cuda.{name}", stand_in)

    @contextmanager
    def capture(self, graph):
        self.capturing = graph.calls
        yield
        self.capturing = None

    def call(self, milliseconds, log):
        def run():
            if self.capturing is not None:
                self.capturing.append(run)
                return
            self.now_ms += milliseconds
            log.append(milliseconds)

        return run


class FakeEvent:
    def __init__(self, cuda):
        self._cuda = cuda

    def record(self):
        self.at_ms = self._cuda.now_ms

    def elapsed_time(self, end):
        return end.at_ms - self.at_ms


class FakeGraph:
    def __init__(self, cuda):
        self.calls = []

    def replay(self):
        for call in self.calls:
            call()


@pytest.mark.parametrize("use_graph", [True, False])
def test_a_gpu_sample_is_the_time_of_one_call_over_all_rotating_buffers(monkeypatch, use_graph):
    cuda, log = FakeCuda(monkeypatch), []
    buffers = [cuda.call(2.0, log), cuda.call(4.0, log)]
    candidates = {"a": Candidate(calls=buffers), "b": Candidate(calls=[cuda.call(7.0, log)])}
    plan = RoundPlan(budget_s=0.0, min_rounds=5)
    measured = measure_cuda(candidates, use_graph=use_graph, plan=plan, seed=0)
    assert measured.samples_s == {"a": pytest.approx([3e-3] * 5), "b": pytest.approx([7e-3] * 5)}


def test_energy_is_metered_after_the_rounds_over_whole_passes_of_each_candidate(monkeypatch):
    cuda, log = FakeCuda(monkeypatch), []
    metered = {}

    def meter(run, num_calls):
        log.clear()
        run()
        metered[log[0]] = len(log), num_calls
        return 0.5

    plan = RoundPlan(budget_s=0.0, min_rounds=5)
    candidates = {"a": Candidate(calls=[cuda.call(2.0, log)] * 2), "b": Candidate(calls=[cuda.call(7.0, log)])}
    measured = measure_cuda(candidates, use_graph=True, plan=plan, seed=0, meter=meter)
    assert measured.joules_per_call == {"a": 0.5, "b": 0.5}
    assert all(calls == claimed > 0 for calls, claimed in metered.values())
    assert len(measured.samples_s["a"]) == 5
    assert measure_cuda(candidates, use_graph=True, plan=plan, seed=0).joules_per_call == {}


def test_a_short_gpu_call_is_repeated_until_events_can_resolve_it(monkeypatch):
    cuda, log = FakeCuda(monkeypatch), []
    monkeypatch.setattr("kinetics.measure.timing.timed", lambda call: call() or 5e-6)
    run = CudaRun([cuda.call(0.005, log)] * 3, use_graph=True)
    assert run.num_calls * 5e-6 >= 0.95 * 300e-6
    assert run.num_calls % 3 == 0


def test_the_host_waits_for_the_device_in_every_call_that_is_timed(monkeypatch):
    now_s, queued_s = [0.0], [0.0]

    def launch():
        now_s[0] += 1e-6
        queued_s[0] += 1e-3

    def synchronize():
        now_s[0] += queued_s[0]
        queued_s[0] = 0.0

    monkeypatch.setattr("torch.cuda.synchronize", synchronize)
    monkeypatch.setattr("kinetics.measure.timing._clock", lambda: now_s[0])
    assert host_s(launch, device_kind="cuda") == pytest.approx(1.001e-3)
    assert host_s(launch, device_kind="cpu") == pytest.approx(1e-6)
