"""A comparison as Bencher reads it: the last file's cases, and their ratio to the base on the same device."""

from __future__ import annotations

from collections.abc import Iterator

from kinetics.compare.comparison import Comparison, Entry
from kinetics.results.bencher import LATENCY, RATIO, Metric, Metrics, latency_metric, metric, metrics_of


def bencher_metrics(comparison: Comparison) -> Metrics:
    """Latency of the last file's matched cases; the ratio to the base only where one device ran both."""
    last = comparison.files[-1]
    entries = [entry for case in comparison.cases for entry in case.entries if entry.file is last]
    has_ratio = comparison.is_of_one_device
    return metrics_of({_name(entry): dict(_measures(entry, has_ratio=has_ratio)) for entry in entries})


def _name(entry: Entry) -> str:
    return str(entry.row.fields.get("case") or entry.row.name)


def _measures(entry: Entry, *, has_ratio: bool) -> Iterator[tuple[str, Metric]]:
    yield LATENCY, latency_metric(entry.row.samples_s or [entry.row.median_s])
    if has_ratio and entry.ratio is not None:
        yield RATIO, metric(entry.ratio.ratio, entry.ratio.low, entry.ratio.high)
