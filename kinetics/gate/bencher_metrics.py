"""A gate document as Bencher reads it: what the candidate took, and what the base would have taken at that moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from kinetics.gate.decision import Verdict
from kinetics.gate.evidence import CANDIDATE, case_run
from kinetics.results.bencher import LATENCY, RATIO, Metric, Metrics, latency_metric, metric, metrics_of
from kinetics.results.store import Document

_NO_TIMES: Final = {one.value for one in Verdict if one in (Verdict.MISSING, Verdict.NEW) or not one.is_sound}
"""Verdicts under which a time means nothing, or was not taken."""


def bencher_metrics(document: Document) -> Metrics:
    """Latency of every case that was timed and is valid, and its ratio to the base with the verdict's own bounds."""
    return metrics_of({row["case"]: dict(_measures(row, document)) for row in document.get("verdicts", [])})


def _measures(row: Mapping[str, Any], document: Document) -> Iterator[tuple[str, Metric]]:
    if row["verdict"] in _NO_TIMES:
        return
    runs = [case_run(run) for run in document["runs"] if run["case"] == row["case"]]
    medians_s = [run.median_s[CANDIDATE] for run in runs if run.counts and CANDIDATE in run.median_s]
    if medians_s:
        yield LATENCY, latency_metric(medians_s)
    if row["ratio"] is not None:
        yield RATIO, metric(row["ratio"], row["lower"], row["upper"])
