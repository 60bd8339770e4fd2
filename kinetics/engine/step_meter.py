"""What decode steps take in seconds, joules and keys read, and each answer's sum of it.

A step is counted whole for everyone in it: from before its inputs are laid out until its tokens are drawn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from kinetics.specs.generation import DecodeUsage


@dataclass(slots=True, kw_only=True)
class UsageSum:
    """Sums over the steps that one answer was part of."""

    num_steps: int = 0
    decode_s: float = 0.0
    energy_j: float = 0.0
    keys_read: float = 0.0

    def add(self, step: StepUse) -> None:
        """Count one more step."""
        self.num_steps += 1
        self.decode_s += step.seconds
        self.energy_j += step.joules
        self.keys_read += step.keys_read

    def usage(self, num_tokens: int, *, counts_joules: bool) -> DecodeUsage:
        """What an answer of so many tokens took."""
        return DecodeUsage(
            num_tokens=num_tokens,
            decode_s=self.decode_s,
            keys_read=self.keys_read / max(1, self.num_steps),
            energy_j=self.energy_j if counts_joules else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepUse:
    """One step: seconds, joules, and the keys that a row of the batch read on average, idle rows counted as none."""

    seconds: float
    joules: float
    keys_read: float


class StepMeter:
    """Measures one step at a time. `read_j` is the device's counter of joules, `clock` one of seconds."""

    def __init__(
        self, read_j: Callable[[], float] | None = None, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._read_j, self._clock = read_j, clock
        self._started_s = self._started_j = 0.0

    @property
    def counts_joules(self) -> bool:
        """Whether there is a counter of joules."""
        return self._read_j is not None

    def start(self) -> None:
        """A step begins."""
        self._started_j = self._joules()  # outside the clock: asking takes time, too
        self._started_s = self._clock()

    def stop(self, *, keys_read: float) -> StepUse:
        """The step is over, its tokens on the host."""
        seconds = self._clock() - self._started_s
        return StepUse(seconds=seconds, joules=self._joules() - self._started_j, keys_read=keys_read)

    def _joules(self) -> float:
        return self._read_j() if self._read_j else 0.0
