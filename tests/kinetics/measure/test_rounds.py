"""What is timed, in which order, inside and outside the clock: seen by a clock and an evictor that the test knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from kinetics.measure import rounds, timing
from kinetics.measure.rounds import NUM_REPEATS, Candidate, RoundPlan, measure_cpu
from kinetics.measure.timing import CpuEvictor, CpuStopwatch, InvalidMeasurementError


class Diary:
    """A clock that stands still but for what is done, and a list of all that is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        self.entries: list[Any] = []
        monkeypatch.setattr(timing, "_clock", lambda: self._read("clock"))
        monkeypatch.setattr(timing, "_second_clock", lambda: self.now_s)

    def _read(self, name: str) -> float:
        self.entries.append(name)
        return self.now_s

    def takes(self, name: str, seconds: float) -> Callable[..., str]:
        """Something that takes so long."""

        def act(*arguments: Any) -> str:
            self.entries.append((name, *arguments) if arguments else name)
            self.now_s += seconds
            return name

        return act

    def candidate(self, name: str, seconds: float, **options: Any) -> Candidate:
        return Candidate(
            calls=[self.takes(name, seconds)],
            before=self.takes(f"before {name}", 10.0),
            after=self.takes(f"after {name}", 20.0),
            **options,
        )


@pytest.fixture
def diary(monkeypatch: pytest.MonkeyPatch) -> Diary:
    return Diary(monkeypatch)


def plan(num_rounds: int) -> RoundPlan:
    return RoundPlan(budget_s=0.0, min_rounds=num_rounds, max_rounds=num_rounds)


def bandwidth(diary: Diary) -> Callable[[], float]:
    evict = diary.takes("evict", 3.0)
    return lambda: 5.0 if evict() else 0.0


def test_a_cold_sample_is_the_call_alone_after_its_preparation_and_an_eviction(diary: Diary) -> None:
    measured = measure_cpu({"a": diary.candidate("a", 0.25)}, evict=bandwidth(diary), plan=plan(4), seed=0)
    assert measured.samples_s == {"a": [0.25] * 4}
    assert measured.canary_bytes_per_s == [5.0] * 4
    one = ["before a", "evict", "clock", "a", "clock", "after a"]
    told = [entry[0] if isinstance(entry, tuple) else entry for entry in diary.entries]
    assert told[-4 * len(one) :] == one * 4


def test_a_warm_sample_is_the_second_of_two_calls_and_new_values_come_between(diary: Diary) -> None:
    measured = measure_cpu({"a": diary.candidate("a", 0.25)}, evict=None, plan=plan(3), seed=0)
    assert measured.samples_s == {"a": [0.25] * 3}
    assert measured.canary_bytes_per_s == []
    one = ["a", "before a", "clock", "a", "clock", "after a"]
    told = [entry[0] if isinstance(entry, tuple) else entry for entry in diary.entries]
    assert told[-3 * len(one) :] == one * 3


def test_a_warm_up_is_watched_and_is_no_sample(diary: Diary) -> None:
    measured = measure_cpu({"a": diary.candidate("a", 0.25)}, evict=None, plan=plan(1), seed=0)
    assert len(measured.samples_s["a"]) == 1
    assert diary.entries[:5] == [("before a", False), "clock", "a", "clock", ("after a", ["a"], False)]


def test_one_round_alone_is_the_audit_of_everybody(diary: Diary) -> None:
    candidates = {name: diary.candidate(name, 0.1) for name in ("a", "b")}
    measure_cpu(candidates, evict=None, plan=plan(7), seed=0)
    for name in candidates:
        flags = [entry[1] for entry in diary.entries if isinstance(entry, tuple) and entry[0] == f"before {name}"][2:]
        looks = [entry[2] for entry in diary.entries if isinstance(entry, tuple) and entry[0] == f"after {name}"][2:]
        assert flags == looks
        assert flags.count(True) == 1
    audited = [entry[0] for entry in diary.entries if isinstance(entry, tuple) and entry[-1] is True]
    places = [diary.entries.index(entry) for entry in diary.entries if isinstance(entry, tuple) and entry[-1] is True]
    assert set(audited) == {"before a", "after a", "before b", "after b"}
    assert max(places) - min(places) < 2 * len(["a", "before", "clock", "a", "clock", "after"])  # within one round


def test_the_audit_is_drawn_anew_for_every_measurement(diary: Diary, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    monkeypatch.setattr(rounds.secrets, "randbelow", lambda bound: drawn.append(bound) or 0)
    measure_cpu({"a": diary.candidate("a", 0.1)}, evict=None, plan=plan(9), seed=0)
    assert drawn == [9]


def test_rounds_are_as_many_as_the_budget_buys_at_the_price_of_a_whole_round(diary: Diary) -> None:
    """Two candidates of 1 and 2 s, an eviction of 3 s before each: 9 s a round, so 90 s buy ten."""
    candidates = {"a": diary.candidate("a", 1.0), "b": diary.candidate("b", 2.0)}
    budget = RoundPlan(budget_s=90.0, min_rounds=1, max_rounds=99)
    cold = measure_cpu(candidates, evict=bandwidth(diary), plan=budget, seed=0)
    warm = measure_cpu(candidates, evict=None, plan=budget, seed=0)
    assert [len(samples) for samples in cold.samples_s.values()] == [10, 10]
    assert [len(samples) for samples in warm.samples_s.values()] == [15, 15]


def test_what_is_asked_twice_is_asked_on_the_values_it_has_seen_as_cold_as_before(diary: Diary) -> None:
    candidate = diary.candidate("a", 0.25, is_asked_twice=True)
    measured = measure_cpu({"a": candidate}, evict=bandwidth(diary), plan=plan(NUM_REPEATS + 2), seed=0)
    assert measured.samples_s == {"a": [0.25] * (NUM_REPEATS + 2)}
    assert measured.faults == {}
    told = [entry[0] if isinstance(entry, tuple) else entry for entry in diary.entries]
    once = ["before a", "evict", "clock", "a", "clock", "after a"]
    assert told[-(len(once) * 2 + (2 * len(once) - 1) * NUM_REPEATS) :] == [*once, *once[1:]] * NUM_REPEATS + once * 2


@pytest.mark.parametrize(("repeated_s", "is_valid"), [(0.09, False), (0.11, True), (0.2, True)])
def test_answers_that_come_faster_when_asked_twice_are_refused(diary: Diary, repeated_s: float, is_valid: bool) -> None:
    state = {"is_fresh": False}

    def call() -> None:
        diary.now_s += 0.2 if state["is_fresh"] else repeated_s
        state["is_fresh"] = False

    candidate = Candidate(calls=[call], before=lambda is_audit: state.update(is_fresh=True), is_asked_twice=True)
    measured = measure_cpu({"a": candidate}, evict=lambda: 1.0, plan=plan(9), seed=0)
    assert ("a" not in measured.faults) == is_valid
    assert is_valid or "results are remembered" in str(measured.faults["a"])


def test_a_fault_is_one_candidates_own(diary: Diary) -> None:
    looks: list[int] = []

    def after(results: Any, is_audit: bool) -> None:
        looks.append(1)
        if len(looks) == 4:
            raise AssertionError("left as it was")

    candidates = {"bad": Candidate(calls=[diary.takes("bad", 0.1)], after=after), "good": diary.candidate("good", 0.1)}
    measured = measure_cpu(candidates, evict=None, plan=plan(6), seed=0)
    assert list(measured.faults) == ["bad"]
    assert len(looks) == 4
    assert len(measured.samples_s["good"]) == 6


def test_what_was_timed_can_be_run_once_more(diary: Diary) -> None:
    measured = measure_cpu({"a": diary.candidate("a", 0.1)}, evict=None, plan=plan(1), seed=0)
    assert measured.passes["a"]() == ["a"]


def test_evicting_reads_four_caches_and_tells_bytes_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now, read = [0.0], [0]
    real_sum = torch.Tensor.sum

    def counted(tensor: torch.Tensor) -> torch.Tensor:
        read[0] += tensor.nbytes
        now[0] += 0.5
        return real_sum(tensor)

    monkeypatch.setattr(timing, "_clock", lambda: now[0])
    evict = CpuEvictor(1_000_000)
    monkeypatch.setattr(torch.Tensor, "sum", counted)
    assert evict() == pytest.approx(4_000_000 / 0.5)
    assert read[0] >= 4_000_000


@pytest.mark.parametrize(("share", "is_valid"), [(1.0, True), (0.85, True), (0.75, False), (0.1, False)])
def test_a_clock_that_runs_slower_than_the_other_is_noticed(
    monkeypatch: pytest.MonkeyPatch, share: float, is_valid: bool
) -> None:
    now = [0.0]
    monkeypatch.setattr(timing, "_clock", lambda: share * now[0])
    monkeypatch.setattr(timing, "_second_clock", lambda: now[0])
    stopwatch = CpuStopwatch()
    for _ in range(5):
        stopwatch.time(lambda: now.__setitem__(0, now[0] + 1e-3))
    if is_valid:
        stopwatch.check()
    else:
        with pytest.raises(InvalidMeasurementError, match="two clocks must agree"):
            stopwatch.check()
