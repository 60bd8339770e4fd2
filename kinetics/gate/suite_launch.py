"""One launch of a pytest-benchmark suite: two fresh pytest processes, every test in lockstep, one record per test."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kinetics.gate.evidence import BASE, CANDIDATE, CaseRun
from kinetics.gate.lockstep import Rounds, Sample, log_ratio, median_s, run_rounds
from kinetics.gate.process import PREPARE_TIMEOUT_S, CaseRefused, WorkerProcess

_SCRIPT: Final = Path(__file__).with_name("suite_worker.py")
_MAX_ROUNDS: Final = 24
_MIN_ROUNDS: Final = 3
_TEST_S: Final = 4.0
"""Seconds for the rounds of one test in one launch, where three rounds do not take longer."""
_CALLS_PER_ROUND: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteSetting:
    """How pytest is started on either side.

    `folder`: where, below the checkout. `paths`: Python's search path, what lies in the checkout relative to it.
    `files`: those of the arguments that name files; a side that lacks one does without it.
    """

    folder: str
    arguments: tuple[str, ...]
    files: tuple[str, ...]
    paths: tuple[str, ...]
    cache_dir: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What one side collected: a hash of each test's source by id, and what it could not collect, or must not time."""

    tests: Mapping[str, str]
    errors: Sequence[str] = field(default_factory=list)
    num_recording: int = 0
    foreign: str | None = None


class SideRefused(CaseRefused):
    """A test failed on this side while it was timed, or after it."""

    def __init__(self, side: str, reason: str) -> None:
        super().__init__(reason, is_wrong=True)
        self.side = side


class SuiteWorker(WorkerProcess):
    """pytest on one side. Raises: WorkerLost from every request, if the process is gone or silent for too long."""

    def __init__(self, side: str, roots: Mapping[str, Path], setting: SuiteSetting) -> None:
        foreign_root = str(roots[CANDIDATE]) if side == BASE else None
        told = {"side": side, "foreign_root": foreign_root} | {
            name: getattr(setting, name) for name in ("folder", "arguments", "files", "paths", "cache_dir")
        }
        super().__init__(side, roots[side], json.dumps(told), script=_SCRIPT)

    def collected(self) -> Collected:
        """What pytest collected here."""
        reply = self.ask({"do": "facts"}, timeout_s=PREPARE_TIMEOUT_S)
        if reply.pop("has_words", False):
            reply["errors"] = [f"{error}: {self._last_words()}" for error in reply["errors"]]
        return Collected(**reply)

    def _last_words(self) -> str:
        self._log.seek(0)
        return (self._log.read().decode(errors="replace").strip().splitlines() or ["no message"])[-1]

    def begin_test(self, test: str, following: str | None) -> None:
        """Start a test, up to its call of `benchmark`. `following`: the test after it, whose fixtures stay."""
        self.begin_prepare({"test": test, "following": following}, seed=0)

    def run_once(self) -> Sample:
        """Run the waiting test's function for one round.

        Raises: SideRefused if it fails.
        """
        try:
            seconds = self.ask({"do": "run"}, timeout_s=PREPARE_TIMEOUT_S)["seconds"]
        except CaseRefused as failure:
            raise SideRefused(self.name, str(failure)) from None
        return Sample(seconds=max(seconds, 1e-12), canary_bytes_per_s=1.0)

    def end_test(self) -> str | None:
        """Let the waiting test go on to its end; why it failed, None if it did not."""
        reason: str | None = self.ask({"do": "release"}, timeout_s=PREPARE_TIMEOUT_S)["failed"]
        return reason


def collect(roots: Mapping[str, Path], setting: SuiteSetting) -> dict[str, Collected]:
    """What each side collects, in fresh processes. Raises: WorkerLost."""
    with ExitStack() as stack:
        workers = {side: _entered(stack, SuiteWorker(side, roots, setting)) for side in roots}
        return {side: worker.collected() for side, worker in workers.items()}


def _entered(stack: ExitStack, worker: SuiteWorker) -> SuiteWorker:
    stack.enter_context(worker)
    return worker


def run_suite_launch(
    roots: Mapping[str, Path], setting: SuiteSetting, tests: Sequence[str], *, launch: int, look: int = 1
) -> Iterator[CaseRun]:
    """Yield the record of each test as it is finished; sides start in turns.

    Raises: WorkerLost if a side dies or hangs; the records yielded before stand.
    """
    sides = list(roots) if launch % 2 == 0 else list(roots)[::-1]
    with ExitStack() as stack:
        workers = {side: _entered(stack, SuiteWorker(side, roots, setting)) for side in sides}
        for worker in workers.values():
            worker.collected()
        for index, test in enumerate(tests):
            following = tests[index + 1] if index + 1 < len(tests) else None
            facts = {"case": test, "look": look, "launch": launch, "first_side": sides[0]}
            yield _run_test(workers, test, following, facts, seed=1000 * launch + index)


def _run_test(
    workers: Mapping[str, SuiteWorker], test: str, following: str | None, facts: Mapping[str, Any], *, seed: int
) -> CaseRun:
    for worker in workers.values():
        worker.begin_test(test, following)
    seconds, refusals, wrong = _begun(workers)
    waiting = [workers[side] for side in seconds]
    rounds: Rounds = {}
    if not refusals:
        try:
            rounds = _rounds(workers, max(seconds.values()), seed)
        except SideRefused as refusal:
            refusals, wrong = {refusal.side: str(refusal)}, [refusal.side]
            waiting = [worker for worker in waiting if worker.name != refusal.side]
    for worker in waiting:
        if reason := worker.end_test():
            refusals[worker.name] = reason
            wrong.append(worker.name)
    if refusals:
        return CaseRun(**facts, refusals=refusals, wrong_sides=wrong)
    return CaseRun(
        **facts,
        median_s={side: median_s(pairs) for side, pairs in rounds.items()},
        log_ratios={side: log_ratio(rounds[BASE], rounds[side]) for side in rounds if side != BASE},
    )


def _begun(workers: Mapping[str, SuiteWorker]) -> tuple[dict[str, float], dict[str, str], list[str]]:
    """Seconds of a call on the sides where the test waits; why it does not on the others, and where it is wrong."""
    seconds, refusals, wrong = {}, {}, []
    for side, worker in workers.items():
        try:
            seconds[side] = worker.end_prepare()["seconds"]
        except CaseRefused as refusal:
            refusals[side] = str(refusal)
            wrong += [side] if refusal.is_wrong else []
    return seconds, refusals, wrong


def _rounds(workers: Mapping[str, SuiteWorker], call_s: float, seed: int) -> Rounds:
    fitting = int(_TEST_S / (_CALLS_PER_ROUND * max(call_s, 1e-3)))
    num_rounds = min(_MAX_ROUNDS, max(_MIN_ROUNDS, fitting))
    rng = random.Random(seed)  # noqa: S311 - an order of rounds, not a secret
    return run_rounds(workers, num_rounds=num_rounds, rng=rng)
