"""Several engines at once: Ray actors that hold one engine each, on this machine or on a cluster.

Workers take pieces of what is left, large ones first, so that they end together. What a dead worker had not sent is
given to the others. Only the process that asks sees completions; workers write nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any

from kinetics.samples.log_writer import LostWork
from kinetics.specs.distribution import install_command
from kinetics.specs.generation import Completion, Generate, GenerationRequest

OpenEngine = Callable[[], AbstractContextManager[Generate]]
"""What a worker is given: a context that holds an engine, opened where the worker lives."""


@dataclass(slots=True, kw_only=True)
class _Worker:
    """One actor, the stream it is sending, and what of its piece has not arrived."""

    actor: Any
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
        actor_type = ray.remote(num_cpus=1, num_gpus=num_gpus_each)(_EngineActor)
        self._workers = [_Worker(actor=actor_type.remote(open_engine)) for _ in range(num_workers)]

    def __enter__(self) -> RayWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()

    def process_ids(self) -> list[int]:
        """The processes that hold the engines."""
        return [int(pid) for pid in self._ray.get([worker.actor.process_id.remote() for worker in self._workers])]

    def __call__(self, requests: Iterable[GenerationRequest]) -> Iterator[Completion]:
        """One completion per request, from whichever worker has one.

        Raises: LostWork when the last worker has died, with what the last one said.
        """
        left = deque(requests)
        cause = ""
        idle: list[_Worker] = list(self._workers)
        busy: list[_Worker] = []
        while left or busy:
            while left and idle:
                busy.append(self._start(idle.pop(), left))
            if not busy:
                raise LostWork(
                    f"all {self._num_workers} workers must not die, got {len(left)} samples left and, from the last "
                    f"worker, {cause!r}; finished samples are safe: mend it and run again with --resume"
                )
            streams = {worker.stream: worker for worker in busy}
            ready, _ = self._ray.wait(list(streams), num_returns=1)
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

    def _next(self, worker: _Worker) -> Completion | None:
        """The next completion of a worker's stream; None at its end."""
        try:
            completion: Completion = self._ray.get(next(worker.stream))
        except StopIteration:
            return None
        del worker.pending[completion.request_id]
        return completion


class _EngineActor:
    """What runs in a worker's process."""

    def __init__(self, open_engine: OpenEngine) -> None:
        self._open = ExitStack()  # ends with the process
        self._generate = self._open.enter_context(open_engine())

    def process_id(self) -> int:
        import os

        return os.getpid()

    def generate(self, requests: list[GenerationRequest]) -> Iterator[Completion]:
        yield from self._generate(requests)


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
