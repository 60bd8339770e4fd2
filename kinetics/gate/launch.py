"""One launch: fresh workers on every side, every case in lockstep, one record per case.

A launch with an odd number starts its sides, and has them allocate, in the other order, so that whatever the first one
gains or loses by being first is nobody's in the long run.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kinetics.gate.evidence import BASE, CaseRun
from kinetics.gate.lockstep import Rounds, Runnable, log_ratio, median_canary, median_s, run_rounds
from kinetics.gate.process import CaseRefused
from kinetics.gate.watch import Surroundings

NUM_ROUNDS = 24
NUM_ALLOCATIONS = 3
"""Where the operating system puts a buffer moves a time by some percent, for as long as the buffer lives."""


class Worker(Runnable, Protocol):
    """What a launch needs of a worker; `kinetics.gate.process.WorkerProcess` is one."""

    def begin_prepare(self, spec: Mapping[str, Any], *, seed: int) -> None:
        """Start to make a case ready."""

    def end_prepare(self) -> dict[str, Any]:
        """Wait until it is. Raises: CaseRefused."""

    def release(self) -> None:
        """Give the case's memory back."""


class Observer(Protocol):
    """Watches the machine from its making to `seen`; `kinetics.gate.watch.Watch` is one."""

    def look(self) -> None:
        """Look at the device now, while its case is still there."""

    def seen(self) -> Surroundings:
        """What happened since."""


OpenWorker = Callable[[str, Path], Any]
"""A context manager that yields a Worker, from a side's name and root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSetup:
    """Where launches happen: the checkout of each side, how a worker is opened, and how the machine is watched."""

    roots: Mapping[str, Path]
    open_worker: OpenWorker
    watch: Callable[[Sequence[Worker]], Observer]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchCase:
    """One case as every side is to run it. Sides run the same spec, unless a study plants work in one of them."""

    name: str
    specs: Mapping[str, Mapping[str, Any]]


def run_launch(place: LaunchSetup, cases: Sequence[LaunchCase], *, launch: int, look: int) -> Iterator[CaseRun]:
    """Yield the record of each case as it is finished.

    Raises: WorkerLost if a worker dies or hangs; the records yielded before stand.
    """
    sides = list(place.roots) if launch % 2 == 0 else list(place.roots)[::-1]
    with ExitStack() as stack:
        workers = {side: stack.enter_context(place.open_worker(side, place.roots[side])) for side in sides}
        for index, case in enumerate(cases):
            yield _run_case(place, workers, case, launch=launch, look=look, seed=1000 * launch + index)


def _run_case(
    place: LaunchSetup, workers: Mapping[str, Worker], case: LaunchCase, *, launch: int, look: int, seed: int
) -> CaseRun:
    identity: dict[str, Any] = {"case": case.name, "look": look, "launch": launch, "first_side": next(iter(workers))}
    observer = place.watch(list(workers.values()))
    rng = random.Random(seed)  # noqa: S311 - an order of rounds, not a secret
    blocks: list[Rounds] = []
    for allocation in range(NUM_ALLOCATIONS):
        prepared, refusals = _prepare(workers, case, seed=seed + 100 * allocation)
        if refusals:
            reasons = {side: str(refusal) for side, refusal in refusals.items()}
            wrong = [side for side, refusal in refusals.items() if refusal.is_wrong]
            return CaseRun(**identity, refusals=reasons, wrong_sides=wrong)
        blocks.append(run_rounds(workers, num_rounds=NUM_ROUNDS // NUM_ALLOCATIONS, rng=rng))
        observer.look()
        for worker in workers.values():
            worker.release()
    seen = observer.seen()
    rounds: Rounds = {side: [pair for block in blocks for pair in block[side]] for side in workers}
    others = [side for side in rounds if BASE in rounds and side != BASE]
    last = prepared[list(place.roots)[-1]]
    return CaseRun(
        **identity,
        median_s={side: median_s(pairs) for side, pairs in rounds.items()},
        canary_bytes_per_s={side: median_canary(pairs) for side, pairs in rounds.items()},
        log_ratios={side: log_ratio(rounds[BASE], rounds[side]) for side in others},
        max_abs_error={side: reply["max_abs_error"] for side, reply in prepared.items()},
        work={name: last[name] for name in ("num_bytes", "flop", "num_launches")},
        others_cpu_share=seen.others_cpu_share,
        disturbance=seen.disturbance,
        block_log_ratios={side: [log_ratio(block[BASE], block[side]) for block in blocks] for side in others},
    )


def _prepare(
    workers: Mapping[str, Worker], case: LaunchCase, *, seed: int
) -> tuple[dict[str, dict[str, Any]], dict[str, CaseRefused]]:
    """The replies of the sides that are ready, and the refusals of the others. All prepare at the same time."""
    prepared, refusals = {}, {}
    for side, worker in workers.items():
        worker.begin_prepare(case.specs[side], seed=seed)
    for side, worker in workers.items():
        try:
            prepared[side] = worker.end_prepare()
        except CaseRefused as refusal:
            refusals[side] = refusal
    if refusals:
        for side in prepared:
            workers[side].release()
    return prepared, refusals
