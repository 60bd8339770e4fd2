"""How far off predicted times are on measured rows that no fit has seen, by five ways of hiding rows from it.

A split is decided by shape, version or device, never by a measured time. `alternate` and `beyond` fit anew; `shipped`,
`version` and `device` take the fits that come with the suite as they stand, so that a wrong number in them shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from kinetics.prediction.silicon import find_fit, roof_times
from kinetics.prediction.silicon_fit import Array, evaluate
from kinetics.prediction.silicon_fits import (
    BEYOND,
    MIN_ROWS,
    SiliconFit,
    committed_fits,
    device_of,
    predict_unseen,
    version_key,
)
from kinetics.prediction.silicon_package import Kernel, Measured
from kinetics.prediction.silicon_terms import TERMS
from kinetics.prediction.splits import Split
from kinetics.specs.counts import short
from kinetics.specs.hardware import Accelerator

_FEWEST_BEYOND: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One kernel's rows and how far predictions of them were off, as |predicted / measured - 1|.

    `fitted_on`: what the fit had seen. `roof_errors`: of the data sheet alone.
    """

    operation: str
    kernel: Kernel
    dtype: str
    variant: str
    split: Split
    fitted_on: str
    errors: Array
    roof_errors: Array

    @property
    def device(self) -> Accelerator:
        """The device that was measured."""
        return device_of(self.kernel.system)

    @property
    def num_rows(self) -> int:
        """Rows that were judged."""
        return len(self.errors)

    @property
    def median(self) -> float:
        """Half of the rows were predicted closer than this."""
        return float(np.median(self.errors))

    @property
    def p90(self) -> float:
        """Nine of ten rows were predicted closer than this."""
        return float(np.quantile(self.errors, 0.9))


def judge_groups(
    groups: Iterable[Measured], splits: Sequence[Split], *, fits: Sequence[SiliconFit] | None = None
) -> Iterator[Judged]:
    """Every group under every split that its rows allow.

    Of several versions of a kernel the newest is judged, the older ones under `version`. Groups of fewer than MIN_ROWS
    rows are left out.
    """
    known = committed_fits() if fits is None else fits
    for measured, is_newest in _newest_marked([group for group in groups if len(group.seconds) >= MIN_ROWS]):
        for split in splits:
            if is_newest or split is Split.VERSION:
                found = judge_group(measured, split, fits=known)
                if found is not None:
                    yield found


def judge_group(measured: Measured, split: Split, *, fits: Sequence[SiliconFit]) -> Judged | None:
    """One group under one split; None if its rows or the fits do not allow it."""
    if split in (Split.ALTERNATE, Split.BEYOND):
        rows = _refitted(measured, split)
        if rows is None:
            return None
        fitted, unseen, fitted_on = rows
        return _judged(unseen, split, fitted_on, predict_unseen(fitted, unseen))
    fit = _shipped(measured, split, fits)
    if fit is None:
        return None
    return _judged(measured, split, str(fit.kernel), _seconds_on(fit, measured))


def _judged(unseen: Measured, split: Split, fitted_on: str, predicted: Array) -> Judged:
    cases, seconds = unseen.cases, unseen.seconds
    roof = roof_times(cases, device_of(unseen.kernel.system))
    return Judged(
        operation=cases.operation, kernel=unseen.kernel, dtype=cases.dtype, variant=cases.variant, split=split,
        fitted_on=fitted_on, errors=np.abs(predicted / seconds - 1), roof_errors=np.abs(roof / seconds - 1),
    )  # fmt: skip


def _refitted(measured: Measured, split: Split) -> tuple[Measured, Measured, str] | None:
    """Rows to fit, rows to judge, and what the former are; None if either are too few."""
    every = np.arange(len(measured.seconds))
    if split is Split.ALTERNATE:
        return measured.take(every[::2]), measured.take(every[1::2]), "every other row"
    limit = BEYOND.get(measured.cases.operation)
    if limit is None:
        return None
    is_near = measured.cases.columns["context_len"] <= limit + 1  # tables count the new token or leave it out
    if is_near.sum() < MIN_ROWS or (~is_near).sum() < _FEWEST_BEYOND:
        return None
    near, far = (measured.take(np.flatnonzero(rows)) for rows in (is_near, ~is_near))
    return near, far, f"contexts to {short(limit)}"


def _shipped(measured: Measured, split: Split, fits: Sequence[SiliconFit]) -> SiliconFit | None:
    """The shipped fit that a split judges; None if there is none."""
    kernel, cases, device = measured.kernel, measured.cases, device_of(measured.kernel.system)
    alike = [
        fit
        for fit in fits
        if (fit.operation, fit.dtype, fit.variant) == (cases.operation, cases.dtype, cases.variant)
        and (fit.kernel.framework, fit.kernel.name) == (kernel.framework, kernel.name)
    ]
    if split is Split.DEVICE:
        others = [fit for fit in alike if device_of(fit.kernel.system) != device]
        return min(others, key=lambda fit: _distance(device_of(fit.kernel.system), device), default=None)
    own = [fit for fit in alike if device_of(fit.kernel.system) == device]
    if split is Split.VERSION:
        return next((fit for fit in own if fit.kernel.version != kernel.version), None)
    return next(iter(own), None) or find_fit(cases, device, kernel.framework, fits=fits)


def _seconds_on(fit: SiliconFit, measured: Measured) -> Array:
    """Times by a fit's parameters and the data sheet of the device that was measured."""
    terms = TERMS[fit.operation](measured.cases.columns, device_of(measured.kernel.system), fit.settings)
    return evaluate(terms, fit.parameters)


def _distance(one: Accelerator, other: Accelerator) -> float:
    """How unlike two data sheets are: by their memory's rate and their matrix rate, in factors."""
    rates = [(d.memory_bytes_per_s, d.bf16_flop_per_s, d.l2_bytes or 1) for d in (one, other)]
    return float(np.abs(np.log(rates[0]) - np.log(rates[1])).sum())


def _newest_marked(groups: Sequence[Measured]) -> Iterator[tuple[Measured, bool]]:
    """Groups, and whether each is the newest version of its kernel."""
    newest: dict[tuple[str, ...], str] = {}
    for group in groups:
        key = _kernel_key(group)
        newest[key] = max(newest.get(key, group.kernel.version), group.kernel.version, key=version_key)
    for group in groups:
        yield group, newest[_kernel_key(group)] == group.kernel.version


def _kernel_key(group: Measured) -> tuple[str, ...]:
    kernel, cases = group.kernel, group.cases
    return kernel.system, kernel.framework, kernel.name, cases.operation, cases.dtype, cases.variant
