"""Several engines answer as one does, and what a dead worker owed is made by the others."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from kinetics.samples.log_writer import LostWork
from kinetics.specs.generation import Completion, DecodeUsage, FinishReason, GenerationRequest, SamplingSettings
from tests.support.paths import ROOT

pytest.importorskip("ray", reason="ray is not installed; pip install ray")
from kinetics.samples import workers as ray_workers
from kinetics.samples.workers import RayWorkers


@dataclass(frozen=True)
class SlowEngine:
    """Answers a request in a moment, with its seed as the only token; some requests end the process."""

    pause_s: float
    deadly: str = ""

    @contextmanager
    def open(self):
        yield self

    def __call__(self, requests) -> Iterator[Completion]:
        for request in requests:
            time.sleep(self.pause_s)
            if request.request_id == self.deadly:
                os._exit(1)
            yield Completion(
                request_id=request.request_id,
                token_ids=(request.seed, os.getpid()),
                finish=FinishReason.STOP,
                usage=DecodeUsage(num_tokens=2),
            )


@dataclass(frozen=True)
class ThreadTelling:
    """Its only token is 1 if it works in the thread that it was opened in."""

    @contextmanager
    def open(self):
        opened_in = threading.get_ident()

        def generate(requests) -> Iterator[Completion]:
            for request in requests:
                yield Completion(
                    request_id=request.request_id,
                    token_ids=(int(threading.get_ident() == opened_in),),
                    finish=FinishReason.STOP,
                    usage=DecodeUsage(num_tokens=1),
                )

        yield generate


def requests(count):
    return [
        GenerationRequest(
            request_id=f"q/{i}", prompt_token_ids=(1,), max_new_tokens=4, sampling=SamplingSettings(), seed=i
        )
        for i in range(count)
    ]


def workers(engine, *, num_workers=2):
    return RayWorkers(engine.open, num_workers=num_workers, min_piece=2, num_gpus_each=0, address="")


@pytest.fixture(autouse=True)
def ray_finds_these_tests(monkeypatch):

    paths = [str(ROOT), str(ROOT / "kernels")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")


@pytest.mark.slow
def test_both_workers_take_part_and_every_request_is_answered_once():
    with workers(SlowEngine(pause_s=0.02)) as generate:
        done = list(generate(requests(40)))
    assert sorted(one.token_ids[0] for one in done) == list(range(40))
    assert len({one.token_ids[1] for one in done}) == 2


def hit_by(blow, completions):
    """All completions, and the process that made the first and got the signal then."""
    done = [first := next(completions)]
    victim = first.token_ids[1]
    os.kill(victim, blow)
    return [*done, *completions], victim


@pytest.mark.slow
def test_a_worker_killed_in_mid_run_loses_nothing():
    with workers(SlowEngine(pause_s=0.05)) as generate:
        done, victim = hit_by(signal.SIGKILL, generate(requests(40)))
    assert sorted(one.token_ids[0] for one in done) == list(range(40))
    assert len({one.request_id for one in done}) == 40
    by_victim = [one for one in done if one.token_ids[1] == victim]
    assert 0 < len(by_victim) < 40, "it must die with work in hand"


@pytest.mark.slow
def test_a_stopped_worker_is_given_up_and_its_samples_are_made_by_the_other(monkeypatch):
    monkeypatch.setattr(ray_workers, "SILENCE_S", 6.0)
    monkeypatch.setattr(ray_workers, "PULSE_S", 1.0)
    with workers(SlowEngine(pause_s=0.2)) as generate:
        done, victim = hit_by(signal.SIGSTOP, generate(requests(40)))
    assert sorted(one.token_ids[0] for one in done) == list(range(40))
    assert len([one for one in done if one.token_ids[1] == victim]) < 20


@pytest.mark.slow
def test_an_engine_that_thinks_for_long_is_not_given_up(monkeypatch):
    monkeypatch.setattr(ray_workers, "SILENCE_S", 3.0)
    monkeypatch.setattr(ray_workers, "PULSE_S", 1.0)
    with workers(SlowEngine(pause_s=8.0)) as generate:
        done = list(generate(requests(2)))
    assert sorted(one.token_ids[0] for one in done) == [0, 1]


@pytest.mark.slow
def test_an_engine_works_in_the_thread_that_it_was_opened_in():
    """The number of threads that torch uses is known to that one alone."""
    with workers(ThreadTelling()) as generate:
        assert {one.token_ids for one in generate(requests(12))} == {(1,)}


@pytest.mark.slow
def test_when_every_worker_has_died_the_run_says_so():
    with workers(SlowEngine(pause_s=0.01, deadly="q/3")) as generate, pytest.raises(LostWork, match="2 workers must"):
        list(generate(requests(8)))


@dataclass(frozen=True)
class BrokenEngine:
    """Cannot be made, or fails at its first request."""

    fails_at_start: bool

    @contextmanager
    def open(self):
        if self.fails_at_start:
            raise ValueError("the cache must hold one request, got 3 pages")
        yield self

    def __call__(self, requests) -> Iterator[Completion]:
        raise RuntimeError("out of memory, got 80 GiB wanted")
        yield


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fails_at_start", "cause"), [(True, "the cache must hold one request"), (False, "out of memory")]
)
def test_what_the_engines_died_of_is_said(fails_at_start, cause):
    with (
        workers(BrokenEngine(fails_at_start=fails_at_start)) as generate,
        pytest.raises(LostWork, match=cause) as raised,
    ):
        list(generate(requests(4)))
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_more_workers_than_gpus_are_refused_instead_of_waited_for():
    engine = SlowEngine(pause_s=0.0)
    with pytest.raises(ValueError, match=r"--workers must be at most the 0 that Ray's 0 GPUs hold, got 2"):
        RayWorkers(engine.open, num_workers=2, min_piece=2, num_gpus_each=1, address="")
