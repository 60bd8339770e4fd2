"""Progress of a benchmark run: a bar on a terminal, one line per cell elsewhere.

It draws only between measurements, never from a thread of its own: a refresh inside a timed region would be measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import IO, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from kinetics.cases.kernels import Cell
from kinetics.cases.steps import StepCell
from kinetics.specs.counts import short


class RunProgress(Protocol):
    """What a run tells of itself while it goes on."""

    def describe(self, cell: Cell | StepCell, *, num_cases: int) -> None:
        """Say which cell comes now."""

    def say(self, text: str) -> None:
        """Say what goes on now."""

    def advance(self) -> None:
        """One more test is done."""

    def close(self) -> None:
        """Nothing comes any more."""


class SilentProgress:
    """Says nothing: nothing has been selected yet."""

    def describe(self, cell: Cell | StepCell, *, num_cases: int) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def advance(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class CellProgress:
    """How many tests are done, and which cell is being measured."""

    def __init__(
        self, num_tests: int, terminal: IO[str] | None, *, uncaptured: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._console = Console(file=terminal, highlight=False)
        self._uncaptured = uncaptured
        self._num_tests = num_tests
        self._done = 0
        self._started = time.monotonic()
        self._bar: Progress | None = None
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
                auto_refresh=False,
                transient=True,
            )
            self._task = self._bar.add_task("", total=num_tests)
            self._bar.start()

    def describe(self, cell: Cell | StepCell, *, num_cases: int) -> None:
        """Say which cell comes now."""
        context = short(cell.context_len)
        self.say(f"{cell.model.name} batch {cell.batch} context {context} {cell.cache_state.value}: {num_cases} cases")

    def say(self, text: str) -> None:
        """Say what goes on now."""
        with self._uncaptured():
            if self._bar is not None:
                self._bar.update(self._task, description=text)
                self._bar.refresh()
            else:
                elapsed_s = time.monotonic() - self._started
                line = f"\n[{self._done}/{self._num_tests}, {elapsed_s:.0f} s] {text} "
                self._console.print(line, end="", markup=False)

    def advance(self) -> None:
        """One more test is done."""
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._task, advance=1)
            self._bar.refresh()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
