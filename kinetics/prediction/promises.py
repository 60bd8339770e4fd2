"""How far off predictions of each operation may be on unseen rows, and whether they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from kinetics.prediction.silicon_judging import Judged
from kinetics.prediction.splits import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """The median and the 90th percentile that errors of an operation keep within; `p90` None where none is promised.

    `least_rows`: kernels of fewer rows are left aside. `has_windows`: whether sliding windows count.
    """

    operation: str
    split: Split
    median: float
    p90: float | None = None
    least_rows: int = 0
    has_windows: bool = True

    def covers(self, judged: Judged) -> bool:
        """Whether a kernel is among those it speaks of."""
        return (
            (judged.operation, judged.split) == (self.operation, self.split)
            and judged.num_rows >= self.least_rows
            and (self.has_windows or not judged.variant.endswith("-window"))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What became of a promise: over all rows of all kernels, and kernel by kernel."""

    promise: Promise
    kernels: tuple[Judged, ...]

    @property
    def errors(self) -> tuple[float, float]:
        """Median and 90th percentile over all rows."""
        errors = np.concatenate([kernel.errors for kernel in self.kernels])
        return float(np.median(errors)), float(np.quantile(errors, 0.9))

    @property
    def is_kept(self) -> bool:
        """Whether both hold over all rows."""
        return self._holds(*self.errors)

    @property
    def num_within(self) -> int:
        """Kernels that keep within it by themselves."""
        return sum(self._holds(kernel.median, kernel.p90) for kernel in self.kernels)

    @property
    def worst(self) -> Judged:
        """The kernel with the largest median error."""
        return max(self.kernels, key=lambda kernel: kernel.median)

    def _holds(self, median: float, p90: float) -> bool:
        return median <= self.promise.median and (self.promise.p90 is None or p90 <= self.promise.p90)


PROMISES: Final = (
    Promise(
        operation="attention", split=Split.ALTERNATE, median=0.05, p90=0.15, least_rows=300, has_windows=False
    ),
    Promise(operation="attention", split=Split.BEYOND, median=0.08, has_windows=False),
    Promise(operation="dsa", split=Split.ALTERNATE, median=0.06, p90=0.18),
    Promise(operation="dsa", split=Split.BEYOND, median=0.10),
    Promise(operation="msa", split=Split.ALTERNATE, median=0.06, p90=0.18),
    Promise(operation="msa", split=Split.BEYOND, median=0.10),
    Promise(operation="matmul", split=Split.ALTERNATE, median=0.08),
    Promise(operation="experts", split=Split.ALTERNATE, median=0.12),
    Promise(operation="all_reduce", split=Split.ALTERNATE, median=0.12),
)  # fmt: skip
"""What the suite promises of rows that a fit has not seen."""


def keep_promises(judged: Sequence[Judged]) -> list[Kept]:
    """Every promise that some kernel is covered by."""
    found = [Kept(promise=promise, kernels=tuple(one for one in judged if promise.covers(one))) for promise in PROMISES]
    return [kept for kept in found if kept.kernels]
