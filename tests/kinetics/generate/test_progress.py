"""The line a run shows: samples, rate, time left."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from kinetics.generate import progress as generate_progress
from kinetics.generate.progress import SampleProgress
from kinetics.samples.answers import Answer
from kinetics.samples.problems import Problem
from kinetics.samples.trials import Trial
from kinetics.specs.generation import Completion, DecodeUsage, FinishReason


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def monotonic(self):
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(generate_progress, "time", clock)
    return clock


def answer(num_tokens):
    trial = Trial(problem=Problem(problem_id="a", text="a?", gold=1), trial=0, seed=0)
    usage = DecodeUsage(num_tokens=num_tokens, decode_s=0.0)
    completion = Completion(request_id=trial.request_id, token_ids=None, finish=FinishReason.STOP, usage=usage)
    return Answer(trial=trial, text="", prompt_tokens=1, completion=completion)


def start(progress, *, num_done=0):
    progress.start(num_samples=10, num_done=num_done, max_new_tokens=1000)


def test_before_a_sample_is_finished_the_cap_bounds_what_is_left(clock):
    progress = SampleProgress(Console(file=io.StringIO()))
    start(progress)
    assert progress.describe() == "0 tokens/s, at most ? left"
    clock.now_s += 2
    progress.on_tokens(200)
    assert progress.describe() == "100 tokens/s, at most 0:01:38 left"


def test_time_left_follows_from_what_finished_and_is_not_counted_twice(clock):
    progress = SampleProgress(Console(file=io.StringIO()))
    start(progress, num_done=4)
    clock.now_s += 10
    progress.on_tokens(500)
    progress.on_sample(answer(400))
    # 5 samples of 400 tokens, of which 100 are there, at 50 tokens/s.
    assert progress.describe() == "50 tokens/s, 0:00:38 left"


def test_without_steps_to_watch_finished_samples_tell_the_rate(clock):
    progress = SampleProgress(Console(file=io.StringIO()))
    start(progress)
    clock.now_s += 4
    progress.on_sample(answer(400))
    assert progress.describe() == "100 tokens/s, 0:00:36 left"


def test_off_a_terminal_there_is_a_line_every_half_minute(clock):
    out = io.StringIO()
    with SampleProgress(Console(file=out, width=200)) as progress:
        start(progress)
        for _ in range(70):
            clock.now_s += 1
            progress.on_tokens(10)
    assert out.getvalue().splitlines() == [
        "0/10 samples, 10 tokens/s, at most 0:16:10 left",
        "0/10 samples, 10 tokens/s, at most 0:15:40 left",
    ]


def test_on_a_terminal_there_is_a_bar(clock):
    out = io.StringIO()
    with SampleProgress(Console(file=out, force_terminal=True, width=120)) as progress:
        start(progress)
        clock.now_s += 1
        progress.on_sample(answer(10))
        progress.on_tokens(10)
    assert "1/10" in out.getvalue()
