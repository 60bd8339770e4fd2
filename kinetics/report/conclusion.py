"""What a page says first: up to three sentences and one figure, all computed from the files on it.

Disturbed rows take no part. Sparse decode is held against the fastest dense one of any provider in its cell, so that
nobody's slow dense path makes it look good.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from kinetics.compare.comparison import ratio_of
from kinetics.compare.median_ratio import MedianRatio
from kinetics.law.stored_frontiers import FrontierLine, LawTask
from kinetics.prediction.calibration import calibration_errors
from kinetics.report.providers import OURS, contests, provider_series
from kinetics.report.regressions import ratio_table
from kinetics.report.sources import Sources
from kinetics.results.reader import ResultFile
from kinetics.results.row import ResultRow
from kinetics.results.speedup import where_it_pays
from kinetics.specs.counts import short
from kinetics.specs.units import format_seconds
from kinetics.tables.quantity import Quantity, show

MAX_SENTENCES: Final = 3
_CELL: Final = ("batch", "context_len", "dtype", "graph")
_SERIES: Final = ("batch", "kv_budget", "page_size", "provider", "dtype", "graph", "kv_layout")


@dataclass(frozen=True, slots=True, kw_only=True)
class GainPoint:
    """How many times as fast sparse decode is as the fastest dense one at a context: dense time over sparse time."""

    context_len: int
    gain: MedianRatio
    sparse: ResultRow
    dense: ResultRow


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFigure:
    """The number that a page is about: the gain at the longest context of its best covered series."""

    file: ResultFile
    points: tuple[GainPoint, ...]

    @property
    def last(self) -> GainPoint:
        """The one at the longest context."""
        return self.points[-1]

    @property
    def number(self) -> str:
        """As people read it."""
        return show(self.last.gain.ratio, Quantity.SPEEDUP)

    @property
    def caption(self) -> str:
        """What the number is of."""
        fields = self.last.sparse.fields
        kept = f"{short(fields['kv_budget'])} of {short(self.last.context_len)} tokens kept"
        return f"sparse over the fastest dense decode, {kept}, batch {fields.get('batch')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """`figure` is None without a dense and a sparse side. `cautions`: what to know before believing any of it."""

    sentences: tuple[str, ...]
    figure: KeyFigure | None
    cautions: tuple[str, ...]


def conclude(sources: Sources) -> Conclusion:
    """The sentences that the files have data for, the most asked for first."""
    figure = key_figure(sources.files)
    found = [
        _on_sparse(figure) if figure else "",
        _on_providers(sources.files),
        _on_baseline(sources),
        _on_accuracy(sources.tasks),
        _on_predictions(sources.files),
    ]
    sentences = [one for one in found if one][:MAX_SENTENCES] or [_NOTHING]
    return Conclusion(sentences=tuple(sentences), figure=figure, cautions=tuple(_cautions(sources.files)))


_NOTHING: Final = (
    "Nothing to conclude yet: no dense and sparse side of one cell, no second provider, no baseline and no case held "
    "out of a calibration is in these files."
)


def key_figure(files: Sequence[ResultFile]) -> KeyFigure | None:
    """The series with most contexts; of equals ours, then the longest context, then the largest batch."""
    found = [KeyFigure(file=file, points=points) for file in files for points in _gains(file)]
    return max(found, key=_prominence, default=None)


def _prominence(figure: KeyFigure) -> tuple[Any, ...]:
    fields = figure.last.sparse.fields
    is_ours = fields.get("provider") == OURS
    return len(figure.points), is_ours, figure.last.context_len, fields.get("batch") or 0


def _gains(file: ResultFile) -> list[tuple[GainPoint, ...]]:
    """Every cold sparse series of a file against the fastest dense row of each of its cells."""
    rows = [row for row in file.rows if row.is_kernel_or_step and not row.fields.get("disturbed")]
    rows = [row for row in rows if row.fields.get("cache_state") != "warm" and row.fields.get("context_len")]
    dense: dict[tuple[Any, ...], ResultRow] = {}
    for row in (row for row in rows if row.fields["operation"] == "dense"):
        rival = dense.setdefault(_cell(row), row)
        dense[_cell(row)] = min(rival, row, key=lambda one: one.median_s)
    series: dict[tuple[Any, ...], list[GainPoint]] = defaultdict(list)
    for row in rows:
        fastest = dense.get(_cell(row))
        if row.fields["operation"] == "block_topk" and row.fields.get("kv_budget") and fastest:
            point = GainPoint(
                context_len=row.fields["context_len"], gain=ratio_of(row, fastest), sparse=row, dense=fastest
            )
            series[(row.model_or_heads, *(row.fields.get(name) for name in _SERIES))].append(point)
    return [tuple(sorted(points, key=lambda point: point.context_len)) for points in series.values()]


def _cell(row: ResultRow) -> tuple[Any, ...]:
    return (row.model_or_heads, *(row.fields.get(name) for name in _CELL))


def _on_sparse(figure: KeyFigure) -> str:
    last, fields = figure.last, figure.last.sparse.fields
    interval = f" (95 %: {last.gain.low:.3g}x to {last.gain.high:.3g}x)" if last.gain.low else ""
    pays = where_it_pays([one.context_len for one in figure.points], [one.gain.ratio for one in figure.points])
    return (
        f"On {figure.file.label}, sparse decode that keeps {short(fields['kv_budget'])} of {short(last.context_len)} "
        f"tokens is {figure.number} as fast as the fastest dense one, {last.dense.fields.get('provider')}{interval}; "
        f"it pays {pays} ({last.sparse.model_or_heads}, batch {fields.get('batch')}, {fields.get('provider')})."
    )


def _on_providers(files: Sequence[ResultFile]) -> str:
    met = contests(provider_series(files))
    if not met:
        return ""
    clear = [one.ratio for one in met if one.ratio.excludes_one]
    num_faster = sum(ratio.ratio < 1 for ratio in clear)
    middle = statistics.median(one.ratio.ratio for one in met)
    return (
        f"Where other providers ran the same {_cells(len(met))}, ours is clearly faster than the fastest of them in "
        f"{num_faster}, clearly slower in {len(clear) - num_faster} and open in {len(met) - len(clear)}; its time is "
        f"{show(middle, Quantity.RATIO)} of theirs at the median."
    )


def _on_baseline(sources: Sources) -> str:
    if not sources.regressions or not sources.baseline:
        return ""
    tables = [ratio_table(comparison) for comparison in sources.regressions]
    num_cases, slower, faster = (
        sum(getattr(table, name) for table in tables) for name in ("num_cases", "num_slower", "num_faster")
    )
    return (
        f"Against the baseline, {sources.baseline.path.name}, {slower} of {_cells(num_cases)} are slower and {faster} "
        "faster by more than their intervals."
    )


def _on_accuracy(tasks: Sequence[LawTask]) -> str:
    """The highest accuracy that dense reaches, and what another attention asks for it."""
    for task in tasks:
        dense = next((line for line in task.lines if line.attention == "dense"), None)
        others = [line for line in task.lines if line.attention != "dense"]
        if dense is None or not others or not dense.accuracy:
            continue
        accuracy = max(dense.accuracy)
        dense_s = _seconds_to(dense, accuracy)
        reached = [(seconds, line.attention) for line in others if (seconds := _seconds_to(line, accuracy)) is not None]
        if reached and dense_s:
            seconds, attention = min(reached)
            return (
                f"On {task.device}, {attention} attention answers {100 * accuracy:.0f} % of the questions right for "
                f"{format_seconds(seconds)} a question, dense for {format_seconds(dense_s)}."
            )
    return ""


def _seconds_to(line: FrontierLine, accuracy: float) -> float | None:
    reached = [s for s, a in zip(line.seconds, line.accuracy, strict=True) if a >= accuracy]
    return min(reached, default=None)


def _on_predictions(files: Sequence[ResultFile]) -> str:
    rows = [{**row.fields, "median_s": row.median_s} for file in files for row in file.rows if row.is_kernel_or_step]
    errors = calibration_errors(rows, "held_out")
    if not errors:
        return ""
    return (
        f"Calibrated predictions miss {_cells(len(errors))} that they were not fitted to by "
        f"{show(statistics.median(errors), Quantity.SHARE)} at the median."
    )


def _cells(count: int) -> str:
    return f"{count:,} cell{'' if count == 1 else 's'}"


def _cautions(files: Sequence[ResultFile]) -> list[str]:
    """Per file, in a few words; the cards say more."""
    found = []
    for file in files:
        num_disturbed = sum(bool(row.fields.get("disturbed")) for row in file.rows)
        if num_disturbed:
            found.append(
                f"{file.letter}: {num_disturbed} of {len(file.rows)} rows were disturbed and are left out here."
            )
    return found
