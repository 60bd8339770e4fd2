"""Whoever can compute a cell, side by side over context: is ours faster, from where on, and by how much?

A series compares like with like: one file, one operation, one shape of heads, one batch and budget, one element type,
one cache state, with or without a CUDA graph. Disturbed rows take no part.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kinetics.compare.comparison import ratio_of
from kinetics.compare.median_ratio import MIN_SAMPLES, MedianRatio, median_interval
from kinetics.report.style import (
    GREY,
    Panel,
    add_hover,
    color_of,
    known_legend,
    log_axis,
    new_figure,
    ratio_axis,
    symbol_at,
    tag,
)
from kinetics.results.reader import ResultFile
from kinetics.results.row import ResultRow
from kinetics.specs.counts import short
from kinetics.specs.units import format_seconds

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure  # noqa: N812 - Bokeh's class is spelt like a function

OURS: Final = "ours"
MAX_SERIES: Final = 24
_COMPARED: Final = ("dense", "block_topk")
_LIKE: Final = ("operation", "batch", "kv_budget", "page_size", "dtype", "cache_state", "graph")
_MS: Final = 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One operation of one file over context, by provider; `rows` of each are in order of context.

    `reference`: the provider that the others are held against: ours, or the one with most contexts.
    """

    file: ResultFile
    title: str
    rows: dict[str, tuple[ResultRow, ...]]
    reference: str

    @property
    def context_lens(self) -> tuple[int, ...]:
        """Every context that some provider has."""
        return tuple(sorted({row.fields["context_len"] for rows in self.rows.values() for row in rows}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """One cell that ours shares with others: the ratio is our time over that of the fastest other."""

    ours: ResultRow
    fastest_other: ResultRow
    num_others: int
    ratio: MedianRatio


def provider_series(files: Iterable[ResultFile]) -> list[Series]:
    """All series with two providers or two contexts: those of ours and others first, then by providers and contexts."""
    found = [series for file in files for series in _series_of(file)]
    found = [one for one in found if len(one.rows) > 1 or len(one.context_lens) > 1]
    return sorted(found, key=_prominence)


def _prominence(series: Series) -> tuple[bool, int, int]:
    is_contest = _is_ours(series.reference) and len(series.rows) > 1
    return not is_contest, -len(series.rows), -len(series.context_lens)


def contests(series: Iterable[Series]) -> list[Contest]:
    """Ours against the fastest other provider in every cell that both have."""
    found = []
    for one in series:
        others = [row for name, rows in one.rows.items() if not _is_ours(name) for row in rows]
        for mine in (row for name, rows in one.rows.items() if _is_ours(name) for row in rows):
            rivals = [row for row in others if row.fields["context_len"] == mine.fields["context_len"]]
            if rivals:
                best = min(rivals, key=lambda row: row.median_s)
                found.append(Contest(ours=mine, fastest_other=best, num_others=len(rivals), ratio=ratio_of(best, mine)))
    return found


def draw_series(series: Series) -> Panel:
    """Left, time over context with the interval of its median; right, time over the reference's, with intervals."""
    figures = (_draw_times(series), _draw_ratios(series))
    alt = f"Time per call of {', '.join(series.rows)} over context, and over the time of {series.reference}"
    return Panel(figures=figures, legend=known_legend(figures), title=series.title, alt=alt)


def _is_ours(name: str) -> bool:
    return name.split(",", 1)[0] == OURS


def _series_of(file: ResultFile) -> list[Series]:
    groups: dict[tuple[Any, ...], dict[str, list[ResultRow]]] = defaultdict(lambda: defaultdict(list))
    for row in file.rows:
        is_whole = row.fields.get("context_len") and row.is_kernel_or_step and not row.fields.get("disturbed")
        if is_whole and row.fields["operation"] in _COMPARED:
            key = (row.model_or_heads, *(row.fields.get(name) for name in _LIKE))
            groups[key][_provider(row)].append(row)
    return [_series(file, members) for members in groups.values()]


def _provider(row: ResultRow) -> str:
    """The provider, and its layout where a graph replays the engine's: these are two ways of one provider."""
    name = str(row.fields.get("provider") or "not stated")
    is_engines = row.fields.get("graph") and row.fields.get("kv_layout") == "hnd"
    return f"{name}, hnd" if is_engines else name


def _series(file: ResultFile, members: dict[str, list[ResultRow]]) -> Series:
    rows = {name: tuple(sorted(group, key=lambda row: row.fields["context_len"])) for name, group in members.items()}
    names = sorted(rows, key=lambda name: (not _is_ours(name), -len(rows[name])))
    first = rows[names[0]][0]
    return Series(
        file=file, title=f"{file.label}: {_shape(first)}", rows={name: rows[name] for name in names}, reference=names[0]
    )


def _shape(row: ResultRow) -> str:
    fields = row.fields
    parts = [str(fields["operation"]), row.model_or_heads or "", f"batch {fields.get('batch')}"]
    parts += [f"{short(fields['kv_budget'])} tokens kept"] if fields.get("kv_budget") else []
    parts += [str(fields["dtype"])] if fields.get("dtype") else []
    parts += [f"pages of {fields['page_size']}"] if fields.get("page_size") else []
    parts += ["warm"] if fields.get("cache_state") == "warm" else []
    return ", ".join(parts + (["graph"] if fields.get("graph") else []))


def _draw_times(series: Series) -> Figure:
    rows = [row for group in series.rows.values() for row in group]
    figure = new_figure(
        log_axis("context (tokens)", series.context_lens, labels=short),
        log_axis("time per call (ms)", [_MS * row.median_s for row in rows]),
    )
    _draw_roof(figure, rows)
    for index, (name, group) in enumerate(series.rows.items()):
        columns: dict[str, Any] = {
            "context": [f"{row.fields['context_len']:,} tokens" for row in group],
            "provider": [name] * len(group),
            "time": [format_seconds(row.median_s) for row in group],
        }
        columns |= {"x": [row.fields["context_len"] for row in group], "y": [_MS * row.median_s for row in group]}
        columns |= _spans([_median_span(row) for row in group], _MS)
        _draw_line(figure, index, name, columns)
    add_hover(figure, ("provider", "context", "time"))
    return figure


def _draw_roof(figure: Figure, rows: Sequence[ResultRow]) -> None:
    """The prediction: launches and the scarcest resource, whoever computes."""
    known = {row.fields["context_len"]: _MS * row.fields["predicted_s"] for row in rows if row.fields["predicted_s"]}
    contexts = sorted(known)
    line = figure.line(
        contexts, [known[one] for one in contexts], color=GREY, line_width=2, line_dash="dotted", name="roof"
    )
    tag(line, "roof (predicted)", color=GREY, symbol="dotted")


def _draw_ratios(series: Series) -> Figure:
    base = {row.fields["context_len"]: row for row in series.rows[series.reference]}
    shared = {
        name: [(row, ratio_of(base[row.fields["context_len"]], row)) for row in group if _context(row) in base]
        for name, group in series.rows.items()
        if name != series.reference
    }
    spans = [end for pairs in shared.values() for _, ratio in pairs for end in _ends(ratio)]
    figure = new_figure(
        log_axis("context (tokens)", series.context_lens, labels=short),
        ratio_axis(f"time / time of {series.reference}", spans),
    )
    level = figure.line(
        [min(series.context_lens), max(series.context_lens)], [1, 1], color=color_of(0), line_width=3, name="one"
    )
    tag(level, series.reference, color=color_of(0), symbol=symbol_at(0))
    for index, (name, pairs) in enumerate(shared.items(), start=1):
        if pairs:
            _draw_line(figure, index, name, _ratio_columns(name, pairs))
    add_hover(figure, ("provider", "context", "time_ratio"))
    return figure


def _ratio_columns(name: str, pairs: Sequence[tuple[ResultRow, MedianRatio]]) -> dict[str, Any]:
    return {
        "x": [_context(row) for row, _ in pairs],
        "y": [ratio.ratio for _, ratio in pairs],
        **_spans([_ends(ratio) for _, ratio in pairs], 1.0),
        "provider": [name] * len(pairs),
        "context": [f"{_context(row):,} tokens" for row, _ in pairs],
        "time_ratio": [
            f"{ratio.ratio:.3f}" + (f" (95 %: {ratio.low:.3f} to {ratio.high:.3f})" if ratio.low else "")
            for _, ratio in pairs
        ],
    }


def _draw_line(figure: Figure, index: int, name: str, columns: dict[str, Any]) -> None:
    from bokeh.models import ColumnDataSource

    source, color, symbol = ColumnDataSource(columns), color_of(index), symbol_at(index)
    marks = [
        figure.segment("x", "low", "x", "high", source=source, color=color, line_width=1.5, name=f"{name}: interval"),
        figure.line("x", "y", source=source, color=color, line_width=3 if _is_ours(name) else 1.8, name=name),
        figure.scatter("x", "y", source=source, size=8, color=color, marker=symbol, name=f"{name}: marks"),
    ]
    for mark in marks:
        tag(mark, name, color=color, symbol=symbol)


def _context(row: ResultRow) -> int:
    return int(row.fields["context_len"])


def _median_span(row: ResultRow) -> tuple[float, float]:
    """The 95 % interval of the median, or the median alone without enough samples."""
    few = len(row.samples_s) < MIN_SAMPLES
    return (row.median_s, row.median_s) if few else median_interval(row.samples_s)


def _ends(ratio: MedianRatio) -> tuple[float, float]:
    return ratio.low or ratio.ratio, ratio.high or ratio.ratio


def _spans(spans: Sequence[tuple[float, float]], unit: float) -> dict[str, list[float]]:
    """Ends of intervals as columns."""
    return {"low": [unit * low for low, _ in spans], "high": [unit * high for _, high in spans]}
