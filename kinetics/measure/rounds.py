"""Raw samples of several candidates, interleaved, on a CPU or on a CUDA device.

A candidate is a list of calls that do the same work on different buffers. Every round runs each candidate once, in
random order, so that drift of the machine falls on all of them alike; ratios within one measurement are worth more
than its absolute times. What one candidate does wrong while it is timed is its own fault: the others go on.

Where several processes run one candidate together, they `share` what they say, so that all of them do the same: how
many rounds there are, and that they start a call together.
"""

from __future__ import annotations

import gc
import random
import secrets
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kinetics.measure.timing import Call, CpuStopwatch, CudaRun, InvalidMeasurementError, timed

Samples = dict[str, list[float]]
Pass = Callable[[], Sequence[Any]]
"""Runs what was timed once more, and returns what each of its calls returned."""
Meter = Callable[[Call, int], float]
Share = Callable[[Any], list[Any]]
"""Say something to every process that measures this too, and hear what each of them says, in one order."""
Result = TypeVar("Result")

NUM_REPEATS = 5
"""Calls, of a candidate that is asked twice, on the values that it has just answered."""
_MIN_SHARE_OF_FRESH = 0.5


def alone(said: Any) -> list[Any]:
    """What a process hears that measures by itself: what it says."""
    return [said]


def _unprepared(is_audit: bool) -> None:
    """Before a call that nobody watches: nothing."""


def _unseen(results: Sequence[object], is_audit: bool) -> None:
    """After a call that nobody watches: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What is timed: calls that do the same work on different buffers.

    `before(is_audit)` runs before every timed call (CPU) or pass over all calls (CUDA). `after(results, is_audit)` is
    handed what they returned, after every one (CPU) or after the last (CUDA). Neither is timed; what they raise makes
    the candidate invalid. One round is an audit, and nobody can know which: its results should be proved. If it
    `is_asked_twice`, some calls without `before` follow: on values just seen it must not be much faster.
    """

    calls: Sequence[Call]
    before: Callable[[bool], None] = _unprepared
    after: Callable[[Sequence[object], bool], None] = _unseen
    is_asked_twice: bool = False


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
    `passes`: each candidate exactly as it was timed. `faults`: those that are invalid, and why; what samples they have
    mean nothing.
    """

    samples_s: Samples
    canary_bytes_per_s: list[float] = field(default_factory=list)
    joules_per_call: dict[str, float] = field(default_factory=dict)
    passes: dict[str, Pass] = field(default_factory=dict)
    faults: dict[str, Exception] = field(default_factory=dict)

    def median_s(self, name: str) -> float:
        """Median seconds per call of one candidate."""
        return statistics.median(self.samples_s[name])


def measure_cpu(
    candidates: Mapping[str, Candidate],
    *,
    evict: Callable[[], float] | None,
    plan: RoundPlan,
    seed: int,
    share: Share = alone,
) -> Measurement:
    """Time the candidates by the monotonic clock: cold with an evictor, warm (the second of two calls) without."""
    passes: dict[str, Pass] = {name: _first_call(candidate) for name, candidate in candidates.items()}
    measured = Measurement(samples_s={name: [] for name in candidates}, passes=passes)
    canary, guarded = measured.canary_bytes_per_s, _Guard(measured.faults, share)
    runs = {name: _CpuRun(candidate, evict, canary, share) for name, candidate in candidates.items()}
    calls_s = sum(guarded(name, run.warm_up) or 0.0 for name, run in runs.items())
    round_s = 2 * calls_s if evict is None else calls_s + len(runs) * timed(evict)
    order = random.Random(seed)  # noqa: S311 - an order of rounds, not a secret
    num_rounds = share(plan.num_rounds(round_s))[0]
    audited = secrets.randbelow(num_rounds)
    with _no_garbage_collection():
        for number in range(num_rounds):
            for name in order.sample(list(runs), len(runs)):
                if name not in measured.faults:
                    sample = guarded(name, runs[name].sample, number == audited)
                    measured.samples_s[name] += [] if sample is None else [sample]
    for name in [name for name in runs if name not in measured.faults]:
        guarded(name, runs[name].check)
    return measured


def _first_call(candidate: Candidate) -> Pass:
    return lambda: [candidate.calls[0]()]


class _CpuRun:
    """One candidate on a CPU, and what holds it to its samples."""

    def __init__(
        self, candidate: Candidate, evict: Callable[[], float] | None, canary: list[float], share: Share
    ) -> None:
        self._candidate = candidate
        self._evict = evict
        self._canary = canary
        self._share = share
        self._stopwatch = CpuStopwatch()
        self._fresh_s: list[float] = []
        self._repeats_s: list[float] = []

    def warm_up(self) -> float:
        """Two calls, watched like all others; the seconds of the second."""
        self._candidate.before(False)
        self._timed()
        self._candidate.before(False)
        return self._timed()

    def sample(self, is_audit: bool) -> float:
        """The seconds of one call, cold or warm."""
        if self._evict is None:
            self._candidate.calls[0]()
        self._candidate.before(is_audit)
        if self._evict is not None:
            self._canary.append(self._evict())
        self._fresh_s.append(self._timed(is_audit))
        if self._candidate.is_asked_twice and len(self._repeats_s) < NUM_REPEATS:
            if self._evict is not None:
                self._evict()
            self._repeats_s.append(self._timed())
        return self._fresh_s[-1]

    def check(self) -> None:
        """Raises: InvalidMeasurementError if the clock was changed, or a question asked twice not answered anew."""
        self._stopwatch.check()
        if self._repeats_s and self._is_faster_when_asked_twice():
            raise InvalidMeasurementError(
                f"values seen before must take as long as others, got {min(self._repeats_s):.3g} s "
                f"beside at least {min(self._fresh_s):.3g} s: results are remembered"
            )

    def _is_faster_when_asked_twice(self) -> bool:
        """By the best and by the middle: on a loaded machine one of them alone can come out so by chance."""
        return all(of(self._repeats_s) < _MIN_SHARE_OF_FRESH * of(self._fresh_s) for of in (min, statistics.median))

    def _timed(self, is_audit: bool = False) -> float:
        self._share(None)  # nobody's eviction is in the time of the others
        seconds, result = self._stopwatch.time(self._candidate.calls[0])
        self._candidate.after([result], is_audit)
        return seconds


def measure_cuda(
    candidates: Mapping[str, Candidate],
    *,
    use_graph: bool,
    plan: RoundPlan,
    seed: int,
    meter: Meter | None = None,
    share: Share = alone,
) -> Measurement:
    """Time the candidates by CUDA events around graph replays (or eager passes) over all their buffers.

    Rounds are queued without waiting, so the device never idles inside a sample; the host waits once, at the end.
    Afterwards `meter` is handed each candidate's pass and the number of calls in it, and returns joules per call.
    """
    import torch

    measured = Measurement(samples_s={name: [] for name in candidates})
    runs: dict[str, CudaRun] = {}
    guarded = _Guard(measured.faults, share)
    for name, candidate in candidates.items():
        run = guarded(name, _checked_run, candidate, use_graph, share)
        runs |= {} if run is None else {name: run}
    order = random.Random(seed)  # noqa: S311 - an order of rounds, not a secret
    stamps: list[tuple[str, Any, Any]] = []
    for run in runs.values():
        run.repeat()  # an idle device would meet the first event at once, and wait for the launch of what it times
    with _no_garbage_collection():
        for _ in range(share(plan.num_rounds(sum(run.estimated_s for run in runs.values())))[0]):
            for name in order.sample(list(runs), len(runs)):
                candidates[name].before(False)
                stamps.append((name, *runs[name].stamped()))
        torch.cuda.synchronize()
    for name, start, end in stamps:
        measured.samples_s[name].append(start.elapsed_time(end) * 1e-3 / runs[name].num_calls)
    for name, run in runs.items():
        measured.passes[name] = run.one_pass
        guarded(name, _look_at_last, candidates[name], run)
    if meter is not None:
        sound = {name: run for name, run in runs.items() if name not in measured.faults}
        measured.joules_per_call.update({name: meter(run.repeat, run.num_calls) for name, run in sound.items()})
    return measured


def _checked_run(candidate: Candidate, use_graph: bool, share: Share) -> CudaRun:
    candidate.before(False)
    run = CudaRun(candidate.calls, use_graph=use_graph, agree=lambda passes: int(share(passes)[0]))
    run.check_events()
    return run


def _look_at_last(candidate: Candidate, run: CudaRun) -> None:
    """One pass as it was timed, on results that were spoilt before it; it is the audit."""
    candidate.after(run.one_pass(), False)
    candidate.before(True)
    candidate.after(run.one_pass(), True)


class _Guard:
    """Keeps what an act raises as the fault of a candidate: the others go on.

    Of processes that measure together none can go on without the one that failed; there it is raised.
    """

    def __init__(self, faults: dict[str, Exception], share: Share) -> None:
        self._faults = faults
        self._is_alone = share is alone

    def __call__(self, name: str, act: Callable[..., Result], *arguments: Any) -> Result | None:
        """What `act` returns; None if it failed."""
        try:
            return act(*arguments)
        except Exception as fault:
            if not self._is_alone:
                raise
            self._faults[name] = fault
            return None


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
