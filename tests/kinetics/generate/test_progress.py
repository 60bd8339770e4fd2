"""The line a run shows: samples, rate, time left."""

from __future__ import annotations

import io
import re

import numpy as np
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


def answer(num_tokens, *, decode_s=0.0, finish=FinishReason.STOP):
    trial = Trial(problem=Problem(problem_id="a", text="a?", gold=1), trial=0, seed=0)
    usage = DecodeUsage(num_tokens=num_tokens, decode_s=decode_s)
    completion = Completion(request_id=trial.request_id, token_ids=None, finish=finish, usage=usage)
    return Answer(trial=trial, text="", prompt_tokens=1, completion=completion)


def start(progress, *, num_samples=10, num_done=0, max_new_tokens=1000):
    progress.start(num_samples=num_samples, num_done=num_done, max_new_tokens=max_new_tokens)


def left_s(progress):
    """Seconds that the line says are left."""
    hours, minutes, seconds = re.search(r"(\d+):(\d\d):(\d\d) left", progress.describe()).groups()
    return 3600 * int(hours) + 60 * int(minutes) + int(seconds)


def bound_s(text):
    """Seconds that a line says are left at most."""
    hours, minutes, seconds = re.search(r"at most (?:(\d+) days?, )?(\d+):(\d\d):(\d\d)", text).groups()[1:]
    return 3600 * int(hours) + 60 * int(minutes) + int(seconds)


def simulate(lengths, *, rows, clock, progress, step_s=0.1):
    """Run answers of these lengths in so many rows; (seconds done, seconds left as said) after each step."""
    waiting, running, told = list(lengths), [], []
    while waiting or running:
        while waiting and len(running) < rows:
            running.append([0, waiting.pop(0)])
        clock.now_s += step_s
        progress.on_tokens(len(running))
        for one in running:
            one[0] += 1
        for one in [one for one in running if one[0] == one[1]]:
            running.remove(one)
            progress.on_sample(answer(one[1]))
        told.append((clock.now_s - 100.0, left_s(progress), progress.describe()))
    return told


def test_before_an_answer_is_finished_the_cap_bounds_what_is_left(clock):
    progress = SampleProgress(Console(file=io.StringIO()))
    start(progress)
    assert progress.describe() == "0 tokens/s, at most ? left"
    for _ in range(20):
        clock.now_s += 0.1
        progress.on_tokens(5)
    # Five answers have 980 tokens before them, then five others 1,000, at ten a second each.
    assert progress.describe() == "50 tokens/s, at most 0:03:18 left"


def test_what_runs_on_is_not_forgotten_when_the_short_ones_have_ended(clock):
    progress = SampleProgress(Console(file=io.StringIO()))
    start(progress, num_samples=16, max_new_tokens=4000)
    told = simulate([20, 25, 30] + [3000] * 13, rows=16, clock=clock, progress=progress)
    after_the_short_ones = told[40:2900:50]
    assert all(said > 0 for _, said, _ in after_the_short_ones)
    assert told[-1][1] == 0
    # By mean lengths of what had ended, 25 tokens, nothing would have been left.
    assert all(at + said >= told[-1][0] for at, said, _ in told[500:-1])
    assert all(at + bound_s(text) >= told[-1][0] for at, _, text in told[30:-1])


@pytest.mark.parametrize("seed", range(3))
def test_the_time_left_is_about_right_when_answers_end_at_one_rate(clock, seed):
    lengths = [1 + int(length) for length in np.random.default_rng(seed).exponential(300, size=160)]
    progress = SampleProgress(Console(file=io.StringIO()))
    start(progress, num_samples=160, max_new_tokens=5000)
    told = simulate(lengths, rows=16, clock=clock, progress=progress)
    total_s = told[-1][0]
    for at in (0.3, 0.5, 0.7):
        elapsed_s, said, text = told[int(at * len(told))]
        assert "about" in text
        assert 0.6 < (elapsed_s + said) / total_s < 1.6


def test_at_most_is_a_bound_whatever_the_answers_are(clock):
    progress = SampleProgress(Console(file=io.StringIO()))
    start(progress, num_samples=7, max_new_tokens=50)
    told = simulate([50] * 7, rows=3, clock=clock, progress=progress)
    assert all(at + bound_s(text) >= told[-1][0] - 1 for at, _, text in told[:-1])
    assert all(at + bound_s(text) <= told[-1][0] + 1 for at, _, text in told[:49])  # exact while none has ended


def test_the_last_answer_has_no_more_before_it_than_the_cap_leaves(clock):
    progress = SampleProgress(Console(file=io.StringIO()))
    start(progress, num_samples=2, max_new_tokens=1000)
    told = simulate([900, 1000], rows=2, clock=clock, progress=progress)
    assert told[949][1] == 5  # 50 of 1,000 tokens, at ten a second


def test_without_steps_to_watch_finished_answers_tell(clock):
    progress = SampleProgress(Console(file=io.StringIO()))
    start(progress)
    clock.now_s += 4
    assert progress.describe() == "0 tokens/s, at most ? left"
    progress.on_sample(answer(400, decode_s=4.0))
    # One answer at a time: nine of 400 tokens are left.
    assert progress.describe() == "100 tokens/s, about 0:00:36 left, at most 0:01:30"


def test_a_refused_answer_says_nothing_of_lengths(clock):
    progress = SampleProgress(Console(file=io.StringIO()))
    start(progress, num_samples=3)
    clock.now_s += 4
    progress.on_sample(answer(400, decode_s=4.0))
    before = left_s(progress)
    progress.on_sample(answer(0, finish=FinishReason.REFUSED))
    assert left_s(progress) == before / 2


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
