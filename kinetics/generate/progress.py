"""How a run goes on: a bar on a terminal, a line every half minute elsewhere; samples, tokens/s, time left.

Draws only when told that something happened, between steps, so that no drawing falls into a timed one.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from kinetics.files.printable import printable
from kinetics.samples.answers import Answer
from kinetics.specs.generation import FinishReason

_REDRAW_S: Final = 0.25
_LINE_S: Final = 30.0


class SampleProgress:
    """Tells on stderr how many samples there are. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._num_samples = self._num_finished = self._max_new_tokens = 0
        self._num_answered = self._finished_tokens = self._stepped_tokens = self._num_steps = self._num_running = 0
        self._decode_s = 0.0
        self._started_s = self._drawn_s = time.monotonic()

    def __enter__(self) -> SampleProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, *, num_samples: int, num_done: int, max_new_tokens: int) -> None:
        """Generation begins; `num_done` samples are in the log already."""
        self._num_samples, self._num_finished, self._max_new_tokens = num_samples, num_done, max_new_tokens
        self._started_s = self._drawn_s = time.monotonic()
        if self._console.is_terminal:
            columns = (TextColumn("samples"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
            self._bar = Progress(*columns, console=self._console, auto_refresh=False, transient=True)
            self._task = self._bar.add_task("", total=num_samples, completed=num_done)
            self._bar.start()

    def on_tokens(self, num_tokens: int) -> None:
        """A step drew so many tokens."""
        self._stepped_tokens += num_tokens
        self._num_steps += 1
        self._num_running = num_tokens  # each running answer drew one
        self._draw()

    def on_sample(self, answer: Answer) -> None:
        """A sample is finished."""
        self._num_finished += 1
        if answer.completion.finish is not FinishReason.REFUSED:
            self._num_answered += 1
            self._finished_tokens += answer.completion.usage.num_tokens
            self._decode_s += answer.completion.usage.decode_s or 0.0
        self._draw()

    def say(self, text: str) -> None:
        """One line for people, above the bar."""
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def describe(self) -> str:
        """Rate and time left: about, once answers have ended, and at most, as if each were as long as it may be."""
        elapsed_s = time.monotonic() - self._started_s
        num_tokens = max(self._stepped_tokens, self._finished_tokens)
        tokens_per_s = num_tokens / elapsed_s if elapsed_s > 0 else 0.0
        about, most = (
            "?" if steps is None else str(timedelta(seconds=round(steps * self._step_s(elapsed_s))))
            for steps in self._steps_left(num_tokens, tokens_per_s * self._step_s(elapsed_s))
        )
        left = f"about {about} left, at most {most}" if self._num_answered else f"at most {most} left"
        return f"{tokens_per_s:,.0f} tokens/s, {left}"

    def _steps_left(self, num_tokens: int, mean_running: float) -> tuple[float | None, float | None]:
        """Steps that the unfinished answers need, about and at most; None while nothing tells.

        Answers are taken to end at one rate, all tokens over all ends: short ones end first, and their mean would be
        too small. So a running answer has as much before it as a new one, and of several the last ends latest.
        """
        num_left, longest = self._num_samples - self._num_finished, self._max_new_tokens
        if not num_left:
            return 0.0, 0.0
        if not num_tokens:
            return None, None
        running = min(max(1, self._num_running or round(mean_running)), num_left)
        waiting, are_alike = num_left - running, running == 1 or not self._num_answered
        so_far = (num_tokens - self._finished_tokens) // running if self._num_steps else 0
        most = max(1, longest - so_far) if are_alike else longest
        mean = min(longest, num_tokens / max(1, self._num_answered))
        last = min(most, mean * sum(1 / count for count in range(1, running + 1)))
        return last + mean * waiting / running, most + longest * -(-waiting // running)

    def _step_s(self, elapsed_s: float) -> float:
        """Seconds of a token of one answer: of the steps here, else as finished answers tell; 0 if nothing does."""
        if self._num_steps:
            return elapsed_s / self._num_steps
        return self._decode_s / self._finished_tokens if self._finished_tokens else 0.0

    def _draw(self) -> None:
        now_s = time.monotonic()
        if now_s - self._drawn_s < (_LINE_S if self._bar is None else _REDRAW_S):
            return
        self._drawn_s = now_s
        if self._bar is None:
            line = f"{self._num_finished}/{self._num_samples} samples, {self.describe()}"
            self._console.print(line, markup=False, highlight=False)
        else:
            self._bar.update(self._task, completed=self._num_finished, description=self.describe(), refresh=True)
