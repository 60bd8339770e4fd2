"""Timing: raw samples of several candidates, interleaved, on a CPU or on a CUDA device.

A candidate is a list of calls that do the same work on different buffers. Every round runs each candidate once, in
random order, so that drift of the machine falls on all of them alike; ratios within one measurement are worth more
than its absolute times.

Cold and warm. On a CPU, cold means that a buffer of four times the last-level cache was streamed through before each
timed call; warm means that the same call ran just before. On a GPU, cold means that the calls inside one timed
replay rotate over enough buffers to overflow L2 five times; warm means one buffer.
"""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Call = Callable[[], object]
Samples = dict[str, list[float]]
Meter = Callable[[Call, int], float]

EVICTION_CACHES = 4
ROTATION_CACHES = 5
_MIN_REPLAY_S = 300e-6
_MAX_CALLS_PER_REPLAY = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundPlan:
    """How many rounds to take: what fits `budget_s`, within the two limits."""

    budget_s: float
    min_rounds: int = 20
    max_rounds: int = 200

    def num_rounds(self, round_s: float) -> int:
        """Rounds of `round_s` each."""
        return max(self.min_rounds, min(self.max_rounds, int(self.budget_s / max(round_s, 1e-9))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Seconds per call of each candidate, one sample a round, and what was seen beside them.

    `canary_bytes_per_s`: read bandwidth of the evicting stream, one sample per eviction (CPU, cold only).
    `joules_per_call`: of the whole device while each candidate ran alone; empty if nothing was metered.
    """

    samples_s: Samples
    canary_bytes_per_s: list[float] = field(default_factory=list)
    joules_per_call: dict[str, float] = field(default_factory=dict)

    def median_s(self, name: str) -> float:
        """Median seconds per call of one candidate."""
        return statistics.median(self.samples_s[name])


class CpuEvictor:
    """Streams a buffer larger than the last-level cache through it, and tells how fast that went.

    By torch, on torch's threads: a second pool would still be spinning when the timed call starts.
    """

    def __init__(self, cache_bytes: int) -> None:
        import torch

        self._buffer = torch.ones(EVICTION_CACHES * cache_bytes // 4)

    def __call__(self) -> float:
        """Evict; return the bandwidth in bytes per second."""
        start = time.perf_counter()
        self._buffer.sum()
        return self._buffer.nbytes / (time.perf_counter() - start)


def measure_cpu(candidates: Mapping[str, Call], *, evict: CpuEvictor | None, plan: RoundPlan, seed: int) -> Measurement:
    """Time the candidates by the monotonic clock: cold with an evictor, warm (the second of two calls) without."""
    prepare = {name: evict or call for name, call in candidates.items()}
    measured = Measurement(samples_s={name: [] for name in candidates})
    warm_up_s = [_timed(call) for call in candidates.values() for _ in range(2)][1::2]
    evictions_s = len(candidates) * (0.0 if evict is None else _timed(evict))
    order = random.Random(seed)  # noqa: S311 - an order of rounds, not a secret
    with _no_garbage_collection():
        for _ in range(plan.num_rounds(sum(warm_up_s) * (1 if evict else 2) + evictions_s)):
            for name in order.sample(list(candidates), len(candidates)):
                seen = prepare[name]()
                if evict is not None:
                    measured.canary_bytes_per_s.append(float(seen))  # type: ignore[arg-type]
                measured.samples_s[name].append(_timed(candidates[name]))
    return measured


def measure_cuda(
    candidates: Mapping[str, Sequence[Call]],
    *,
    use_graph: bool,
    plan: RoundPlan,
    seed: int,
    meter: Meter | None = None,
) -> Measurement:
    """Time the candidates by CUDA events around graph replays (or eager passes) over all their buffers.

    Rounds are queued without waiting, so the device never idles inside a sample; the host waits once, at the end.
    Afterwards `meter` is handed each candidate's pass and the number of calls in it, and returns joules per call.
    """
    import torch

    runs = {name: CudaRun(calls, use_graph=use_graph) for name, calls in candidates.items()}
    num_rounds = plan.num_rounds(sum(run.estimated_s for run in runs.values()))
    order = random.Random(seed)  # noqa: S311 - an order of rounds, not a secret
    stamps: list[tuple[str, Any, Any]] = []
    with _no_garbage_collection():
        for _ in range(num_rounds):
            for name in order.sample(list(runs), len(runs)):
                stamps.append((name, *runs[name].stamped()))
        torch.cuda.synchronize()
    measured = Measurement(samples_s={name: [] for name in candidates})
    for name, start, end in stamps:
        measured.samples_s[name].append(start.elapsed_time(end) * 1e-3 / runs[name].num_calls)
    if meter is not None:
        measured.joules_per_call.update({name: meter(run.repeat, run.num_calls) for name, run in runs.items()})
    return measured


class CudaRun:
    """One candidate on a CUDA device: a pass over all its buffers, repeated until it is long enough to time."""

    def __init__(self, calls: Sequence[Call], *, use_graph: bool) -> None:
        self._calls = list(calls)
        for call in self._calls:  # compiles, and fills what is filled on first use
            call()
        once_s = self._elapsed_s(self._calls[0])
        passes = max(1, min(_MAX_CALLS_PER_REPLAY, int(_MIN_REPLAY_S / max(once_s, 1e-7))) // len(self._calls))
        self.num_calls = passes * len(self._calls)
        self._run: Call = self._captured(passes) if use_graph else lambda: self._eager(passes)
        self._run()
        self.estimated_s = self._elapsed_s(self._run)

    def stamped(self) -> tuple[Any, Any]:
        """Queue one pass between two events; return the events."""
        import torch

        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        self._run()
        end.record()
        return start, end

    def repeat(self) -> None:
        """Queue one pass."""
        self._run()

    def _eager(self, passes: int) -> None:
        for _ in range(passes):
            for call in self._calls:
                call()

    def _captured(self, passes: int) -> Call:
        import torch

        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._eager(passes)
        return graph.replay

    @staticmethod
    def _elapsed_s(call: Call) -> float:
        import torch

        def call_and_wait() -> None:
            call()
            torch.cuda.synchronize()

        torch.cuda.synchronize()
        return _timed(call_and_wait)


def host_s(call: Call, *, device_kind: str, num_calls: int = 5) -> float:
    """Median wall time of a call on the host, the device's part of it included."""

    def call_and_wait() -> None:
        call()
        if device_kind == "cuda":
            import torch

            torch.cuda.synchronize()

    call_and_wait()
    return statistics.median(_timed(call_and_wait) for _ in range(num_calls))


def num_rotating_buffers(
    cache_bytes: int,
    smallest_call_bytes: int,
    *,
    limit: int = 64,
    buffer_bytes: int = 1,
    budget_bytes: int | None = None,
) -> int:
    """Buffers to rotate over so that the smallest call's data has left the cache before it is read again.

    Fewer where so many, of `buffer_bytes` each, do not fit `budget_bytes`: a call that touches little may need a whole
    cache around it.
    """
    wanted = min(limit, -(-ROTATION_CACHES * cache_bytes // max(1, smallest_call_bytes)))
    fitting = wanted if budget_bytes is None else budget_bytes // max(1, buffer_bytes)
    return max(1, min(wanted, fitting))


def _timed(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
