"""Seconds of one operation on a named device: from the fit of a measured kernel where there is one, else its roof.

Every time says where it comes from, how far off such fits were on rows they had not seen, and whether its shape lies
outside the range that was measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from kinetics.prediction.silicon_cases import Cases
from kinetics.prediction.silicon_fit import Array
from kinetics.prediction.silicon_fits import SiliconFit, committed_fits, device_of, version_key
from kinetics.prediction.silicon_terms import TERMS, Settings
from kinetics.specs.hardware import Accelerator

FRAMEWORKS: Final = ("vllm", "sglang", "trtllm")
ROOF: Final = "data sheet"
_ROOF_TERMS: Final = (
    "read", "cached", "weights", "multiply", "project", "attend", "index", "sent", "activations",
)  # fmt: skip
"""Terms that are seconds at the data sheet's rates."""
_ROOF_ERROR: Final = 1.0
"""A roof is a lower bound: the truth may take twice as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds of one part, the band that nine of ten unseen rows kept within, and where both come from.

    `source`: `fit`, `fit of FRAMEWORK` where the framework asked for has none, or `data sheet`. `outside`: columns
    that leave the fitted range.
    """

    seconds: float
    error: float
    source: str
    kernel: str
    outside: tuple[str, ...] = ()

    @property
    def is_roof(self) -> bool:
        """Whether it is a lower bound and no fit."""
        return self.source == ROOF


def time_cases(
    cases: Cases, device: Accelerator, framework: str, *, fits: Sequence[SiliconFit] | None = None
) -> Timing:
    """The time of one case on a device.

    Raises: ValueError if the framework is none of FRAMEWORKS.
    """
    if framework not in FRAMEWORKS:
        raise ValueError(f"framework must be one of {', '.join(FRAMEWORKS)}, got {framework!r}")
    fit = find_fit(cases, device, framework, fits=fits)
    if fit is None:
        return Timing(seconds=roof_seconds(cases, device), error=_ROOF_ERROR, source=ROOF, kernel="")
    outside = fit.outside(cases)
    judged = fit.beyond if outside and fit.beyond is not None else fit.held_out
    is_own = fit.kernel.framework == framework
    return Timing(
        seconds=float(fit.seconds(cases)[0]),
        error=judged.p90,
        source="fit" if is_own else f"fit of {fit.kernel.framework}",
        kernel=f"{fit.kernel.name} {fit.kernel.version}",
        outside=outside,
    )


def find_fit(
    cases: Cases, device: Accelerator, framework: str, *, fits: Sequence[SiliconFit] | None = None
) -> SiliconFit | None:
    """The fit of the kernel that most of such shapes were measured with: the framework's own, or another's.

    Fits that include the host are passed over: a decode step is launched as one graph.
    """
    by_kind = _by_kind() if fits is None else _indexed(fits)
    for one in (framework, *(other for other in FRAMEWORKS if other != framework)):
        for variant in _variants(cases):
            kind = (device.name, one, cases.operation, cases.dtype, variant)
            found = [fit for fit in by_kind.get(kind, ()) if not fit.includes_host]
            if found:
                return max(
                    found, key=lambda fit: (not fit.outside(cases), fit.num_rows, version_key(fit.kernel.version))
                )
    return None


def roof_seconds(cases: Cases, device: Accelerator) -> float:
    """A lower bound of one case: the slowest of bytes and FLOP of each part at the data sheet's rates."""
    return float(roof_times(cases, device)[0])


def roof_times(cases: Cases, device: Accelerator) -> Array:
    """The lower bound of every case."""
    terms = TERMS[cases.operation](cases.columns, device, Settings())
    in_parts = {name for part in terms.parts for bound in part for name in bound}

    def total(names: Sequence[str]) -> Array:
        return sum((terms.columns[name] for name in names if name in _ROOF_TERMS), np.zeros(terms.num_rows))

    loose = total([name for name in terms.columns if name not in in_parts])
    return loose + sum(
        (np.max([total(bound) for bound in part], axis=0) for part in terms.parts), np.zeros(terms.num_rows)
    )


def _variants(cases: Cases) -> tuple[str, ...]:
    """The case's own variant, and those that stand in for it."""
    if cases.operation == "attention":
        kind, _, rest = cases.variant.partition("-")
        dim, _, window = rest.partition("-")
        dims = sorted((64, 128, 192, 256, 512), key=lambda one: abs(np.log2(one / float(dim))))
        tail = f"-{window}" if window else ""
        kinds = (kind, "gqa") if kind != "gqa" else (kind,)
        return tuple(f"{one}-{near}{end}" for near in dims for one in kinds for end in dict.fromkeys((tail, "")))
    if cases.operation == "experts":
        return (cases.variant, cases.variant.replace("skewed", "balanced"), "skewed", "balanced")
    return (cases.variant, "") if cases.variant != "" else ("",)


_Index = Mapping[tuple[str, str, str, str, str], Sequence[SiliconFit]]


@lru_cache(maxsize=1)
def _by_kind() -> _Index:
    return _indexed(committed_fits())


def _indexed(fits: Sequence[SiliconFit]) -> _Index:
    found = defaultdict(list)
    for fit in fits:
        kernel = fit.kernel
        found[device_of(kernel.system).name, kernel.framework, fit.operation, fit.dtype, fit.variant].append(fit)
    return found


def measured_devices() -> tuple[str, ...]:
    """Names of the devices that have fits."""
    return tuple(dict.fromkeys(device_of(fit.kernel.system).name for fit in committed_fits()))
