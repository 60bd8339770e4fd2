"""Bencher Metric Format: times of one run as Bencher's `json` adapter reads them, for its history and its thresholds.

Source: https://bencher.dev/docs/reference/bencher-metric-format (names of benchmarks over names of measures over a
value and, where they are known, a lower and an upper one).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Final

LATENCY: Final = "latency"
"""Bencher's own measure of time; its unit is the nanosecond."""
RATIO: Final = "ratio-to-base"
"""Time over the base's in the same run: unlike a latency, it means the same on another day and another runner."""
_MAX_NAME_CHARS: Final = 1024
_NS_PER_S: Final = 1e9

Metric = dict[str, float]
Metrics = dict[str, dict[str, Metric]]


def latency_metric(samples_s: Sequence[float]) -> Metric:
    """Median in nanoseconds between the quartiles of the samples; the median alone where there are fewer than four."""
    value = statistics.median(samples_s)
    if len(samples_s) < 4:
        return metric(value * _NS_PER_S)
    low, _, high = statistics.quantiles(samples_s, n=4, method="inclusive")
    return metric(value * _NS_PER_S, low * _NS_PER_S, high * _NS_PER_S)


def metric(value: float, lower: float | None = None, upper: float | None = None) -> Metric:
    """A value and the bounds that are known."""
    bounds = {"lower_value": lower, "upper_value": upper}
    return {"value": value, **{name: bound for name, bound in bounds.items() if bound is not None}}


def benchmark_name(case: str) -> str:
    """A case's name as Bencher takes it: at most 1024 characters, and not its mark for a benchmark without alerts."""
    mark = "-bencher-ignore"
    name = case[:_MAX_NAME_CHARS]
    return f"{name[: _MAX_NAME_CHARS - 1]}_" if name.endswith(mark) else name


def metrics_of(cases: Mapping[str, Mapping[str, Metric]]) -> Metrics:
    """The document: cases that have a metric, under their names there."""
    return {benchmark_name(case): dict(measures) for case, measures in cases.items() if measures}
