"""Several engines at once: Ray actors that hold one engine each, on this machine or on a cluster.

Workers take pieces of what is left, large ones first, so that they end together. What a dead worker had not sent is
given to the others; one that shows no sign of life for two minutes, being stopped or cut off, is as good as dead. Only
the process that asks sees completions; workers write nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from kinetics.samples.log_writer import LostWork
from kinetics.specs.distribution import install_command
from kinetics.specs.generation import Completion, Generate, GenerationRequest

OpenEngine = Callable[[], AbstractContextManager[Generate]]
"""What a worker is given: a context that holds an engine, opened where the worker lives."""


_PULSES: Final = "pulses"
PULSE_S: Final = 5.0
"""Between two looks at whether workers live."""
SILENCE_S: Final = 120.0
"""A worker that answers no pulse for so long is given up. Long steps of an engine do not hinder an answer."""
START_S: Final = 1800.0
"""Before its first answer: its process has to start, somewhere in a cluster."""


@dataclass(slots=True, kw_only=True)
class _Worker:
    """One actor, the stream it is sending, and what of its piece has not arrived.

    `pulse`: the question whether it lives that it has not been seen to answer yet; `heard_s`: when it last did.
    """

    actor: Any
    pulse: Any
    heard_s: float = field(default_factory=time.monotonic)
    has_started: bool = False
    stream: Any = None
    pending: dict[str, GenerationRequest] = field(default_factory=dict)


class RayWorkers:
    """`Generate` over `num_workers` actors; each calls `open_engine` once, where it lives.

    `min_piece`: requests that one engine decodes together; smaller pieces would leave rows idle. `address` is that of
    a running cluster; empty starts Ray on this machine. Use as a context manager: it stops what it started.

    Raises: ValueError without Ray, if the cluster does not answer, or if it has too few GPUs or CPUs for the workers.
    """

    def __init__(
        self, open_engine: OpenEngine, *, num_workers: int, min_piece: int, num_gpus_each: int, address: str
    ) -> None:
        self._ray = ray = _import_ray()
        self._num_workers, self._min_piece = num_workers, min_piece
        try:
            if address:
                ray.init(address=address, log_to_driver=False, logging_level="ERROR")
            else:
                # Workers, not cores, are what is scheduled here: their threads are the recipe's business.
                ray.init(num_cpus=num_workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        except Exception as error:  # Ray raises many kinds; all mean that there is no cluster
            raise ValueError(
                f"Ray cannot be reached at {address or 'this machine'} ({error}); see --ray-address"
            ) from error
        try:
            _check_resources(ray.cluster_resources(), num_workers=num_workers, num_gpus_each=num_gpus_each)
        except ValueError:
            ray.shutdown()
            raise
        # A group of its own: pulses are answered while the engine works.
        options = {"num_cpus": 1, "num_gpus": num_gpus_each, "concurrency_groups": {_PULSES: 1}}
        actor_type = ray.remote(**options)(_EngineActor)
        actors = [actor_type.remote(open_engine) for _ in range(num_workers)]
        self._workers = [_Worker(actor=actor, pulse=_ask(actor)) for actor in actors]

    def __enter__(self) -> RayWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def __call__(self, requests: Iterable[GenerationRequest]) -> Iterator[Completion]:
        """One completion per request, from whichever worker has one.

        Raises: LostWork when the last worker has died, with what the last one said.
        """
        left = deque(requests)
        cause = ""
        idle: list[_Worker] = list(self._workers)
        busy: list[_Worker] = []
        looked_s = time.monotonic()
        while left or busy:
            while left and idle:
                busy.append(self._start(idle.pop(), left))
            if not busy:
                raise LostWork(
                    f"all {self._num_workers} workers must not die, got {len(left)} samples left and, from the last "
                    f"worker, {cause!r}; finished samples are safe: mend it and run again with --resume"
                )
            streams = {worker.stream: worker for worker in busy}
            ready, _ = self._ray.wait(list(streams), num_returns=1, timeout=PULSE_S)
            if time.monotonic() - looked_s >= PULSE_S:
                for worker in [worker for worker in busy if self._is_silent(worker)]:
                    cause = f"no sign of life for {_limit_s(worker):g} s"
                    self._ray.kill(worker.actor)  # should it wake, it ends
                    busy.remove(worker)
                    left.extend(worker.pending.values())
                looked_s = time.monotonic()
                continue
            if not ready:
                continue
            worker = streams[ready[0]]
            try:
                completion = self._next(worker)
            except self._ray.exceptions.RayError as error:  # its process died, or its engine failed
                cause = _cause(error)
                busy.remove(worker)
                left.extend(worker.pending.values())
                continue
            if completion is None:
                busy.remove(worker)
                idle.append(worker)
            else:
                yield completion

    def _start(self, worker: _Worker, left: deque[GenerationRequest]) -> _Worker:
        size = max(self._min_piece, -(-len(left) // (2 * self._num_workers)))
        piece = [left.popleft() for _ in range(min(size, len(left)))]
        worker.pending = {request.request_id: request for request in piece}
        worker.stream = worker.actor.generate.options(num_returns="streaming").remote(piece)
        return worker

    def _is_silent(self, worker: _Worker) -> bool:
        """Whether a worker has been asked for too long; asks it again if it has answered."""
        is_late = time.monotonic() - worker.heard_s > _limit_s(worker)
        # A late answer may have come while this process itself was stopped: a moment to take it.
        answered, _ = self._ray.wait([worker.pulse], timeout=1.0 if is_late else 0.0)
        if answered:
            worker.heard_s, worker.has_started, worker.pulse = time.monotonic(), True, _ask(worker.actor)
        return is_late and not answered

    def _next(self, worker: _Worker) -> Completion | None:
        """The next completion of a worker's stream; None at its end."""
        try:
            completion: Completion = self._ray.get(next(worker.stream))
        except StopIteration:
            return None
        del worker.pending[completion.request_id]
        return completion


class _EngineActor:
    """What runs in a worker's process: pulses in a thread of their own, the engine in that of `generate`.

    The engine is opened in the thread that it works in: how many threads it takes, and on which device it works, is
    known to that one alone.
    """

    def __init__(self, open_engine: OpenEngine) -> None:
        self._open_engine = open_engine
        self._open = ExitStack()  # ends with the process
        self._engine: Generate | None = None

    def pulse(self) -> None:
        """Nothing but an answer."""

    def generate(self, requests: list[GenerationRequest]) -> Iterator[Completion]:
        if self._engine is None:
            self._engine = self._open.enter_context(self._open_engine())
        yield from self._engine(requests)


def _ask(actor: Any) -> Any:
    return actor.pulse.options(concurrency_group=_PULSES).remote()


def _limit_s(worker: _Worker) -> float:
    return SILENCE_S if worker.has_started else START_S


def _check_resources(resources: Mapping[str, float], *, num_workers: int, num_gpus_each: int) -> None:
    """Ray would wait for ever for what a cluster does not have."""
    for name, each in (("CPU", 1), ("GPU", num_gpus_each)):
        there = int(resources.get(name, 0))
        if num_workers * each > there:
            raise ValueError(
                f"--workers must be at most the {there // each} that Ray's {there} {name}s hold, got {num_workers}; "
                "lower it, or name a larger cluster with --ray-address"
            )


def _cause(error: Exception) -> str:
    """What a worker died of: the last line of what Ray says, which is the exception itself where there was one."""
    lines = str(getattr(error, "cause", None) or error).strip().splitlines()
    return lines[-1].strip()[:200] if lines else type(error).__name__


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ValueError(f"--workers needs Ray; {install_command('distributed')}") from error
    return ray
