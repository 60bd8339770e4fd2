"""The figure of predicted steps: time over context, a line a device, attention and batch, with its band."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kinetics.prediction.step_sweep import SweepRow
from kinetics.specs.counts import short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DASHES = ("-", "--", ":", "-.")


def draw_steps(rows: Sequence[SweepRow], *, title: str) -> Figure:
    """Milliseconds of a step over context on logarithmic axes; crosses mark what does not fit into memory."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    lines: dict[tuple[str, str, int, int], list[SweepRow]] = defaultdict(list)
    for row in rows:
        lines[row.device.called, row.attention, row.query.batch, row.num_devices].append(row)
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    attentions = list(dict.fromkeys(key[1] for key in lines))
    colours: dict[tuple[str, int, int], str] = {}
    for (device, attention, batch, count), group in lines.items():
        colour = colours.setdefault((device, batch, count), f"C{len(colours) % 10}")
        contexts = [row.query.context_len for row in group]
        label = f"{count} x {device}, batch {batch}" + (f", {attention}" if len(attentions) > 1 else "")
        dash = _DASHES[attentions.index(attention) % len(_DASHES)]
        axes.plot(contexts, [1e3 * row.time.seconds for row in group], dash, color=colour, label=label, marker=".")
        low, high = ([1e3 * getattr(row.time, end) for row in group] for end in ("low_s", "high_s"))
        axes.fill_between(contexts, low, high, color=colour, alpha=0.12, linewidth=0)
        misfits = [(row.query.context_len, 1e3 * row.time.seconds) for row in group if not row.fits]
        axes.plot(*zip(*misfits, strict=True), "x", color=colour) if misfits else None
    axes.set(xscale="log", yscale="log", xlabel="context (tokens)", ylabel="decode step (ms)", title=title)
    contexts = sorted({row.query.context_len for row in rows})
    axes.set_xticks(contexts, [short(context) for context in contexts], minor=False)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small")
    figure.supxlabel("bands: 90 % of unseen rows, part by part; x: does not fit into memory", fontsize="x-small")
    return figure
