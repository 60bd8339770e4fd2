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

_REDRAW_S: Final = 0.25
_LINE_S: Final = 30.0


class SampleProgress:
    """Tells on stderr how many samples there are. Use as a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._num_samples = self._num_finished = self._max_new_tokens = 0
        self._num_new = self._finished_tokens = self._stepped_tokens = 0
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
        self._draw()

    def on_sample(self, answer: Answer) -> None:
        """A sample is finished."""
        self._num_finished += 1
        self._num_new += 1
        self._finished_tokens += answer.completion.usage.num_tokens
        self._draw()

    def say(self, text: str) -> None:
        """One line for people, above the bar."""
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def describe(self) -> str:
        """Rate and time left, from the mean length of what is finished; before that, from the longest there can be."""
        elapsed_s = time.monotonic() - self._started_s
        num_tokens = max(self._stepped_tokens, self._finished_tokens)
        tokens_per_s = num_tokens / elapsed_s if elapsed_s > 0 else 0.0
        mean_tokens = self._finished_tokens / self._num_new if self._num_new else self._max_new_tokens
        in_flight = num_tokens - self._finished_tokens
        left_tokens = max(0.0, (self._num_samples - self._num_finished) * mean_tokens - in_flight)
        left = str(timedelta(seconds=round(left_tokens / tokens_per_s))) if tokens_per_s else "?"
        return f"{tokens_per_s:,.0f} tokens/s, {'' if self._num_new else 'at most '}{left} left"

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
