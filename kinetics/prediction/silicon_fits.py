"""Fits of measured kernels: made from rows, judged on rows they have not seen, kept as one line each.

A fit knows its device, framework, version, kernel, dtype and variant; the parameters of its operation's terms; the
range of shapes it saw; and how far off it was, on every other row (held out) and on contexts beyond those it was given.
`silicon_fits.csv` holds what `scripts/fit_silicon.py` makes of the package's tables.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Final

import numpy as np
import numpy.typing as npt

from kinetics.prediction.silicon_cases import Cases
from kinetics.prediction.silicon_fit import Array, Terms, damped_error, evaluate, fit_terms
from kinetics.prediction.silicon_package import Kernel, Measured
from kinetics.prediction.silicon_terms import TERMS, Settings
from kinetics.specs.hardware import Accelerator, find_accelerator

MIN_ROWS: Final = 24
"""Fewer rows than this make no fit."""
BEYOND: Final = {"attention": 16_384, "mla": 8_192, "dsa": 8_192, "msa": 8_192, "dsa_index": 8_192, "dsa_choice": 8_192}
"""Contexts up to which a fit is given rows when it is judged beyond its range."""
_SETTINGS: Final = {
    "attention": [Settings(cache_share=c, max_splits=n) for c in (0.75, 0.95, 1.1, 1.25) for n in (1, 8, 128)],
    "matmul": [Settings(cache_share=c) for c in (0.35, 0.6, 0.95, 1.25)],
    "experts": [Settings(cache_share=c) for c in (0.6, 0.95)],
}
_DEFAULT_SETTINGS: Final = [Settings(), Settings(cache_share=0.6)]
_RANGED: Final = {
    "attention": ("batch", "context_len"), "mla": ("batch", "context_len", "heads"),
    "dsa": ("batch", "context_len", "heads"), "msa": ("batch", "context_len", "heads"),
    **dict.fromkeys(("dsa_index", "dsa_choice", "dsa_attention"), ("batch", "context_len")),
    "matmul": ("rows", "inputs", "outputs"), "experts": ("rows", "hidden", "width", "experts"),
    "all_reduce": ("message_bytes", "devices"),
}  # fmt: skip
_LONGEST_LAUNCH_S: Final = 40e-6
_SYSTEM_NAMES: Final = {"b60": "Arc Pro B60"}
"""Devices whose names in the package begin no name of theirs."""
_MOST_CHOOSING, _MOST_FITTED = 300, 1500
"""Rows that settings are chosen on, and that parameters are solved on: evenly spaced, by shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """|predicted / measured - 1| over rows that a fit has not seen: median, 90th percentile, and how many."""

    median: float
    p90: float
    num_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SiliconFit:
    """One kernel's parameters, what they were fitted on, and how far off they are."""

    operation: str
    kernel: Kernel
    dtype: str
    variant: str
    num_rows: int
    parameters: Mapping[str, float]
    settings: Settings
    ranges: Mapping[str, tuple[float, float]]
    held_out: Errors
    beyond: Errors | None

    def seconds(self, cases: Cases) -> Array:
        """Predicted time of each case."""
        return evaluate(
            TERMS[self.operation](cases.columns, device_of(self.kernel.system), self.settings), self.parameters
        )

    @property
    def includes_host(self) -> bool:
        """Whether the rows were launched one by one from Python: a product's fixed time is then the host's.

        vLLM 0.24's tables of block-scaled fp8 say 80-400 us for a product of one row, where other frameworks' say 4.
        """
        return self.operation == "matmul" and self.parameters.get("fixed", 0.0) > _LONGEST_LAUNCH_S

    def outside(self, cases: Cases) -> tuple[str, ...]:
        """Columns in which some case lies outside the range that was fitted."""
        return tuple(
            name
            for name, (low, high) in self.ranges.items()
            if np.any(cases.columns[name] < low) or np.any(cases.columns[name] > high)
        )


@lru_cache(maxsize=64)
def device_of(system: str) -> Accelerator:
    """The data sheet of a device as the package spells it."""
    return find_accelerator(_SYSTEM_NAMES.get(system, system))


def is_known_system(system: str) -> bool:
    """Whether the table of accelerators has a device of the package."""
    try:
        device_of(system)
    except ValueError:
        return False
    return True


def fit_measured(measured: Measured) -> SiliconFit:
    """Fit every row; judge on every other one, and beyond the contexts of BEYOND.

    Raises: ValueError if there are fewer than MIN_ROWS rows.
    """
    cases, count = measured.cases, len(measured.seconds)
    if count < MIN_ROWS:
        raise ValueError(f"a fit must have {MIN_ROWS} rows, got {count} of {measured.kernel}")
    parameters, settings = solve(measured)
    every = np.arange(count)
    held_out = judge(measured.take(every[::2]), measured.take(every[1::2]))
    ranges = {
        name: (float(cases.columns[name].min()), float(cases.columns[name].max()))
        for name in _RANGED.get(cases.operation, ("batch",))
    }
    return SiliconFit(
        operation=cases.operation, kernel=measured.kernel, dtype=cases.dtype, variant=cases.variant, num_rows=count,
        parameters=parameters, settings=settings, ranges=ranges, held_out=held_out, beyond=_judge_beyond(measured),
    )  # fmt: skip


def judge(fitted: Measured, unseen: Measured) -> Errors:
    """Errors on `unseen` rows of a fit to `fitted` ones; the unseen rows' own device is taken."""
    return errors_of(predict_unseen(fitted, unseen), unseen.seconds)


def predict_unseen(fitted: Measured, unseen: Measured) -> Array:
    """Seconds of `unseen` rows by a fit to `fitted` ones; the unseen rows' own device is taken.

    Raises: ValueError if there is no row to fit.
    """
    if not len(fitted.seconds):
        raise ValueError(f"a fit must have rows, got none of {fitted.kernel}; fit more contexts")
    parameters, settings = solve(fitted)
    return evaluate(_terms(unseen, settings), parameters)


def errors_of(predicted: Array, seconds: Array) -> Errors:
    """How far predictions are from measurements."""
    error = np.abs(predicted / seconds - 1.0)
    return Errors(median=float(np.median(error)), p90=float(np.quantile(error, 0.9)), num_rows=len(error))


def solve(measured: Measured) -> tuple[dict[str, float], Settings]:
    """The parameters that explain the rows best, under the settings that do."""
    few, many = (measured.take(_spaced(len(measured.seconds), most)) for most in (_MOST_CHOOSING, _MOST_FITTED))
    choices = _SETTINGS.get(measured.cases.operation, _DEFAULT_SETTINGS)
    best = min(choices, key=lambda settings: _damped(_terms(few, settings), few.seconds))
    return fit_terms(_terms(many, best), many.seconds), best


def _damped(terms: Terms, seconds: Array) -> float:
    return damped_error(evaluate(terms, fit_terms(terms, seconds, is_rough=True)), seconds)


def _terms(measured: Measured, settings: Settings) -> Terms:
    cases = measured.cases
    return TERMS[cases.operation](cases.columns, device_of(measured.kernel.system), settings)


def _judge_beyond(measured: Measured) -> Errors | None:
    """Errors beyond the contexts of BEYOND, fitted up to them; None if either side has too few rows."""
    limit = BEYOND.get(measured.cases.operation)
    if limit is None:
        return None
    is_near = measured.cases.columns["context_len"] <= limit + 1  # tables count the new token or leave it out
    if is_near.sum() < MIN_ROWS or (~is_near).sum() < 4:
        return None
    return judge(measured.take(np.flatnonzero(is_near)), measured.take(np.flatnonzero(~is_near)))


def _spaced(count: int, most: int) -> npt.NDArray[np.intp]:
    """Evenly spaced rows, at most `most` of them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.intp))


_COLUMNS: Final = (
    "operation", "system", "framework", "version", "kernel", "dtype", "variant", "num_rows", "held_out_median",
    "held_out_p90", "held_out_rows", "beyond_median", "beyond_p90", "beyond_rows", "settings", "ranges", "parameters",
)  # fmt: skip


def write_fits(fits: Iterable[SiliconFit]) -> str:
    """Fits as CSV, in order of operation, system, framework, kernel."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(sorted((_row(fit) for fit in fits), key=lambda row: [str(value) for value in list(row)[:7]]))
    return buffer.getvalue()


def _row(fit: SiliconFit) -> list[str | int]:
    beyond = fit.beyond
    settings = {"cache_share": fit.settings.cache_share, "max_splits": fit.settings.max_splits}
    parameters = {name: value for name, value in fit.parameters.items() if value}
    return [
        fit.operation, fit.kernel.system, fit.kernel.framework, fit.kernel.version, fit.kernel.name, fit.dtype,
        fit.variant, fit.num_rows, f"{fit.held_out.median:.4f}", f"{fit.held_out.p90:.4f}", fit.held_out.num_rows,
        f"{beyond.median:.4f}" if beyond else "", f"{beyond.p90:.4f}" if beyond else "",
        beyond.num_rows if beyond else "", _pairs(settings),
        " ".join(f"{name}={low:g}..{high:g}" for name, (low, high) in fit.ranges.items()), _pairs(parameters),
    ]  # fmt: skip


def _pairs(values: Mapping[str, float]) -> str:
    return " ".join(f"{name}={value:.5g}" for name, value in values.items())


def parse_fits(text: str) -> list[SiliconFit]:
    """Fits of a CSV that `write_fits` wrote."""
    return [_parse(row) for row in csv.DictReader(io.StringIO(text))]


def _parse(row: Mapping[str, str]) -> SiliconFit:
    settings = _values(row["settings"])
    ranges = (item.partition("=")[::2] for item in row["ranges"].split())
    held_out, beyond = (
        Errors(median=float(row[f"{part}_median"]), p90=float(row[f"{part}_p90"]), num_rows=int(row[f"{part}_rows"]))
        if row[f"{part}_median"]
        else None
        for part in ("held_out", "beyond")
    )
    assert held_out is not None
    return SiliconFit(
        operation=row["operation"],
        kernel=Kernel(system=row["system"], framework=row["framework"], version=row["version"], name=row["kernel"]),
        dtype=row["dtype"],
        variant=row["variant"],
        num_rows=int(row["num_rows"]),
        parameters=_values(row["parameters"]),
        settings=Settings(cache_share=settings["cache_share"], max_splits=int(settings["max_splits"])),
        ranges={name: (float(text.split("..")[0]), float(text.split("..")[1])) for name, text in ranges},
        held_out=held_out,
        beyond=beyond,
    )


def _values(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in (item.split("=") for item in text.split())}


@lru_cache(maxsize=1)
def committed_fits() -> tuple[SiliconFit, ...]:
    """The fits that come with the suite."""
    return tuple(parse_fits((files("kinetics.prediction") / "silicon_fits.csv").read_text(encoding="utf-8")))


def newest(fits: Sequence[SiliconFit]) -> list[SiliconFit]:
    """Of each device, framework and operation the fits of the newest version, those of older ones where it has none."""
    ordered = sorted(fits, key=lambda fit: version_key(fit.kernel.version))
    latest = {(f.operation, f.kernel.system, f.kernel.framework, f.kernel.name, f.dtype, f.variant): f for f in ordered}
    return list(latest.values())


def version_key(version: str) -> tuple[int, ...]:
    """Versions in their order: 0.24.0 after 0.5.14, 1.3.0rc20 after 1.3.0rc9."""
    digits = "".join(char if char.isdigit() else " " for char in version).split()
    return tuple(int(part) for part in digits)
