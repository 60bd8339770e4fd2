"""Stopwatches: one call on a CPU, one pass on a CUDA device, and what makes the data of a call leave the cache.

Cold and warm. On a CPU, cold means that a buffer of four times the last-level cache was streamed through before each
timed call; warm means that the same call ran just before. On a GPU, cold means that the calls inside one timed
replay rotate over enough buffers to overflow L2 five times; warm means one buffer.

Imports nothing of this suite: a regression gate loads this file by itself, beside the code of another revision.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

Call = Callable[[], object]

EVICTION_CACHES = 4
ROTATION_CACHES = 5
MIN_REPLAY_S = 1e-3
"""Of a timed pass: what an event costs, some microseconds, is then below half a percent."""
_MAX_CALLS_PER_REPLAY = 1024
_MAX_SIZING_STEPS = 4
_MAX_EVENT_GAP = 5.0
_EVENT_GAP_S = 2e-3
_MIN_CLOCK_SHARE = 0.8
_CLOCK_SLACK_S = 2e-6

_clock = time.perf_counter
_second_clock = time.monotonic
_REAL_CLOCK = time.perf_counter
"""All three bound here, before any provider is imported."""


class InvalidMeasurementError(AssertionError):
    """A candidate did something else than its work while it was timed; it has no time."""


class CpuStopwatch:
    """Times calls by a clock, and keeps a second one beside it."""

    def __init__(self) -> None:
        self._num_calls = 0
        self._num_slow_clocks = 0
        self._is_replaced = False

    def time(self, call: Call) -> tuple[float, object]:
        """(seconds, result) of one call."""
        second_start, start = _second_clock(), _clock()
        result = call()
        seconds, second_s = _clock() - start, _second_clock() - second_start
        self._num_calls += 1
        self._num_slow_clocks += seconds < _MIN_CLOCK_SHARE * second_s - _CLOCK_SLACK_S
        self._is_replaced |= time.perf_counter is not _REAL_CLOCK
        return seconds, result

    def check(self) -> None:
        """Raises: InvalidMeasurementError if the clock was changed by what it timed."""
        if self._is_replaced:
            raise InvalidMeasurementError("time.perf_counter must be Python's own, got another in its place")
        if 2 * self._num_slow_clocks > self._num_calls:
            raise InvalidMeasurementError("two clocks must agree on how long a call takes, got one that was changed")


class CpuEvictor:
    """Streams a buffer larger than the last-level cache through it, and tells how fast that went.

    By torch, on torch's threads: a second pool would still be spinning when the timed call starts.
    """

    def __init__(self, cache_bytes: int) -> None:
        import torch

        self._buffer = torch.ones(EVICTION_CACHES * cache_bytes // 4)

    def __call__(self) -> float:
        """Evict; return the bandwidth in bytes per second."""
        start = _clock()
        self._buffer.sum()
        return self._buffer.nbytes / (_clock() - start)


class CudaRun:
    """One candidate on a CUDA device: a pass over all its buffers, repeated until it is long enough to time.

    `agree` is handed how many passes this process would take, and returns how many all that run it together take.
    """

    def __init__(self, calls: Sequence[Call], *, use_graph: bool, agree: Callable[[int], int] = int) -> None:
        self._calls = list(calls)
        self._agree = agree
        self.last_results: list[object] = [None] * len(self._calls)
        for call in self._calls:  # compiles, and fills what is filled on first use
            call()
        self._uses_graph = use_graph
        passes = self._size()
        self.num_calls = passes * len(self._calls)
        self.estimated_s = self._event_s()

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

    def one_pass(self) -> list[object]:
        """Queue one pass; return the result of its last call on each buffer."""
        self._run()
        return self.last_results

    def check_events(self) -> None:
        """Raises: InvalidMeasurementError if the device works on long after the event that should end a pass."""
        import torch

        torch.cuda.synchronize()
        begun = _clock()
        start, end = self.stamped()
        torch.cuda.synchronize()
        wall_s, event_s = _clock() - begun, float(start.elapsed_time(end)) * 1e-3
        if wall_s > _MAX_EVENT_GAP * event_s + _EVENT_GAP_S:
            raise InvalidMeasurementError(
                f"work must end with its event, got {event_s:.3g} s between events and {wall_s:.3g} s until all was "
                "done: it went on another stream"
            )

    def _size(self) -> int:
        """Passes over all buffers that take long enough; where a launch takes longer than a few, in several steps."""
        most, passes = max(1, _MAX_CALLS_PER_REPLAY // len(self._calls)), 1
        self._run = self._repeated(passes)
        for _ in range(_MAX_SIZING_STEPS):
            needed = self._agree(min(most, math.ceil(passes * MIN_REPLAY_S / max(self._event_s(), 1e-7))))
            if needed <= passes:
                break
            passes = needed
            self._run = self._repeated(passes)
        return passes

    def _repeated(self, passes: int) -> Call:
        return self._captured(passes) if self._uses_graph else lambda: self._eager(passes)

    def _event_s(self) -> float:
        """Seconds of one run on the device: by events, behind another one, so that no launch is in them."""
        import torch

        self._run()
        start, end = self.stamped()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end)) * 1e-3

    def _eager(self, passes: int) -> None:
        for _ in range(passes):
            self.last_results = [call() for call in self._calls]

    def _captured(self, passes: int) -> Call:
        import torch

        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._eager(passes)
        return graph.replay


def host_s(call: Call, *, device_kind: str, num_calls: int = 5) -> float:
    """Median wall time of a call on the host, the device's part of it included."""

    def call_and_wait() -> None:
        call()
        if device_kind == "cuda":
            import torch

            torch.cuda.synchronize()

    call_and_wait()
    return statistics.median(timed(call_and_wait) for _ in range(num_calls))


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


def timed(call: Call) -> float:
    """Seconds of one call on the host."""
    start = _clock()
    call()
    return _clock() - start
