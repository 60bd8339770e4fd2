"""Providers that cheat: each makes an honest prepared call look faster than it is, in its own way.

A cheat takes the request and the honest call, and returns what a dishonest provider would have prepared.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from kinetics.measure import timing
from kinetics_kernels.providers import DecodeRequest, PreparedDecode

Cheat = Callable[[DecodeRequest, PreparedDecode], PreparedDecode]


def _remembering(honest: PreparedDecode, key: Callable[[], Any]) -> PreparedDecode:
    known: dict[Any, torch.Tensor] = {}

    def run() -> torch.Tensor:
        name = key()
        if name not in known:
            known[name] = honest.run().clone()
        return known[name].clone()

    return replace(honest, run=run)


def memo_on_pointer(request: DecodeRequest, honest: PreparedDecode) -> PreparedDecode:
    """What was computed for this address once is right for ever."""
    return _remembering(honest, request.inputs.q.data_ptr)


def memo_on_shape(request: DecodeRequest, honest: PreparedDecode) -> PreparedDecode:
    """Queries of one shape are all alike."""
    return _remembering(honest, lambda: tuple(request.inputs.q.shape))


def memo_on_content(request: DecodeRequest, honest: PreparedDecode) -> PreparedDecode:
    """Computes what it has not been asked yet, slowly, and remembers it by its content."""

    def slow() -> torch.Tensor:
        for _ in range(40):
            honest.run()
        return honest.run()

    return _remembering(replace(honest, run=slow), lambda: hash(request.inputs.q.numpy().tobytes()))


def memo_on_queries_alone(request: DecodeRequest, honest: PreparedDecode) -> PreparedDecode:
    """Knows answers by the queries and the tenth of a second in which they were asked."""
    return _remembering(honest, lambda: int(10 * time.monotonic()))


class LazyTensor(torch.Tensor):
    """Computes when it is read."""

    compute: Callable[[], torch.Tensor]

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        plain = [one.compute() if isinstance(one, LazyTensor) else one for one in args]
        return function(*plain, **(kwargs or {}))


def lazy_output(request: DecodeRequest, honest: PreparedDecode) -> PreparedDecode:
    """Returns at once something that computes when it is read."""

    def run() -> torch.Tensor:
        out = torch.empty_like(request.inputs.q).as_subclass(LazyTensor)
        out.compute = honest.run
        return out

    return replace(honest, run=run)


def work_after_return(request: DecodeRequest, honest: PreparedDecode) -> PreparedDecode:
    """Returns an output that another thread fills a moment later."""
    out = torch.empty_like(request.inputs.q)

    def work() -> None:
        time.sleep(2e-3)
        out.copy_(honest.run())

    def run() -> torch.Tensor:
        threading.Thread(target=work).start()
        return out

    return replace(honest, run=run)


def patched_clock(request: DecodeRequest, honest: PreparedDecode) -> PreparedDecode:
    """Puts a slower clock in the place of Python's."""
    real = time.perf_counter

    def run() -> torch.Tensor:
        time.perf_counter = lambda: 0.1 * real()
        return honest.run()

    return replace(honest, run=run)


def patched_stopwatch(request: DecodeRequest, honest: PreparedDecode) -> PreparedDecode:
    """Puts a slower clock in the place of the stopwatch's."""
    real = timing._clock

    def run() -> torch.Tensor:
        timing._clock = lambda: 0.1 * real()
        for _ in range(40):
            honest.run()
        return honest.run()

    return replace(honest, run=run)


def output_in_an_input(request: DecodeRequest, honest: PreparedDecode) -> PreparedDecode:
    """Writes the answer over the question."""
    return replace(honest, run=lambda: request.inputs.q.copy_(honest.run()))


def inputs_overwritten(request: DecodeRequest, honest: PreparedDecode) -> PreparedDecode:
    """Answers rightly and scribbles into the cache."""

    def run() -> torch.Tensor:
        out = honest.run().clone()
        request.inputs.k_cache[0, 0, 0, 0] += 1.0
        return out

    return replace(honest, run=run)


def inputs_overwritten_later(request: DecodeRequest, honest: PreparedDecode) -> PreparedDecode:
    """Scribbles into the cache from its tenth call on."""
    calls = []

    def run() -> torch.Tensor:
        calls.append(1)
        out = honest.run().clone()
        if len(calls) == 10:
            request.inputs.v_cache[0, 0, 0, 0] += 1.0
        return out

    return replace(honest, run=run)


def work_in_prepare(request: DecodeRequest, honest: PreparedDecode) -> PreparedDecode:
    """Does everything before it is timed."""
    out = honest.run().clone()
    return replace(honest, run=lambda: out)


def work_in_refresh(request: DecodeRequest, honest: PreparedDecode) -> PreparedDecode:
    """Does everything when it is told that keys and values have changed."""
    out = honest.run().clone()

    def refresh() -> None:
        if honest.refresh is not None:
            honest.refresh()
        out.copy_(honest.run())

    return replace(honest, run=out.clone, refresh=refresh)


def fewer_threads(request: DecodeRequest, honest: PreparedDecode) -> PreparedDecode:
    """Changes the conditions of everybody else."""

    def run() -> torch.Tensor:
        torch.set_num_threads(torch.get_num_threads() + 1)
        return honest.run()

    return replace(honest, run=run)


def honest_when_watched(request: DecodeRequest, honest: PreparedDecode) -> PreparedDecode:
    """Computes its first three calls and whatever comes after a pause, and copies in between."""
    state = {"calls": 0, "last": 0.0}
    out = torch.empty_like(request.inputs.q)
    kept = torch.empty_like(out)

    def run() -> torch.Tensor:
        now = time.monotonic()
        state["calls"] += 1
        if state["calls"] <= 3 or now - state["last"] > 0.5:
            kept.copy_(honest.run())
        state["last"] = now
        out.copy_(kept)
        return out

    return replace(honest, run=run)


CHEATS: dict[str, tuple[Cheat, str]] = {
    "memo on pointer": (memo_on_pointer, "output errs by"),
    "memo on shape": (memo_on_shape, "output errs by"),
    "memo on content": (memo_on_content, "results are remembered"),
    "memo on the moment": (memo_on_queries_alone, "output errs by"),
    "lazy output": (lazy_output, "must be a plain tensor"),
    "work after return": (work_after_return, "must write its whole output|output errs by inf|stay as it is"),
    "patched clock": (patched_clock, "must be Python's own"),
    "patched stopwatch": (patched_stopwatch, "two clocks must agree"),
    "output in an input": (output_in_an_input, "must not lie in the memory of an input"),
    "inputs overwritten": (inputs_overwritten, "must leave its inputs as they are"),
    "inputs overwritten later": (inputs_overwritten_later, "must leave their inputs as they are"),
    "work in prepare": (work_in_prepare, "output errs by|must write its whole output"),
    "work in refresh": (work_in_refresh, "output errs by"),
    "threads changed": (fewer_threads, "torch_threads from"),
    "honest when watched": (honest_when_watched, "output errs by"),
}
"""Each cheat by name, and what it is refused for."""
