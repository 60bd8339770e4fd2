"""The figure of the paper on real GPUs: a panel per device and batch, accuracy against device-seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from kinetics.law.frontier import switch_points
from kinetics.law.plots import DASHES, Color, model_colors
from kinetics.law.real_gpus import PaperOnGpu, TimedFrontier
from kinetics.specs.policies import PolicyKind

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINES: Final = {PolicyKind.DENSE: "black", PolicyKind.TOPK: "tab:red", PolicyKind.BLOCK_TOPK: "tab:orange"}


def plot_real_gpus(found: Sequence[PaperOnGpu]) -> Figure:
    """Frontiers with the bands of their costs; strips below name the best model by its colour, dense first."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    devices = list(dict.fromkeys(one.device.name for one in found))
    batches = list(dict.fromkeys(one.batch for one in found))
    models = [curve.model for curve in found[0].frontiers[0].curves]
    colors = model_colors(models)
    figure = Figure(figsize=(1.5 + 3.2 * len(devices), 1.3 + 2.7 * len(batches)), layout="constrained")
    panels = figure.subplots(len(batches), len(devices), sharex=True, sharey=True, squeeze=False)
    for one in found:
        row, column = batches.index(one.batch), devices.index(one.device.name)
        axes = panels[row][column]
        for place, frontier in enumerate(one.frontiers):
            _draw(axes, frontier)
            _draw_strip(axes, frontier, colors, height=-0.05 - 0.06 * place)
        axes.set_title(f"{one.device.name}, batch {one.batch}", fontsize=9)
        axes.set(xscale="log", xlim=_ends(found), ylim=(-0.2, 0.9))
        axes.grid(visible=True, alpha=0.3)
    for axes in panels[-1]:
        axes.set_xlabel("GPU-seconds per question", fontsize=9)
    for line in panels:
        line[0].set_ylabel("accuracy", fontsize=9)
    shown = [
        Line2D([], [], color=_LINES[frontier.kind], linestyle=DASHES[frontier.kind], label=frontier.kind.value)
        for frontier in found[0].frontiers
    ]
    patches = [Patch(color=colors[model], label=model) for model in models]
    figure.legend(handles=[*shown, *patches], loc="outside lower center", ncols=5, fontsize=8)
    return figure


def _ends(found: Sequence[PaperOnGpu]) -> tuple[float, float]:
    """From a little before the first answer that is solved, to the dearest one."""
    frontiers = [frontier for one in found for frontier in one.frontiers]
    first = min(float(frontier.grid[frontier.predicted.accuracy > 0][0]) for frontier in frontiers)
    return first / 3, max(float(frontier.grid[-1]) for frontier in frontiers)


def _draw(axes: Axes, frontier: TimedFrontier) -> None:
    color = _LINES[frontier.kind]
    every = slice(None, None, 4)  # steps finer than a panel shows
    seconds = frontier.grid[every]
    accuracy = frontier.predicted.accuracy[every]
    axes.plot(seconds, accuracy, color=color, linestyle=DASHES[frontier.kind], linewidth=1.5)
    low, high = frontier.dear.accuracy[every], frontier.cheap.accuracy[every]
    axes.fill_between(seconds, low, high, color=color, alpha=0.12, linewidth=0)


def _draw_strip(axes: Axes, frontier: TimedFrontier, colors: Mapping[str, Color], *, height: float) -> None:
    switches = switch_points(frontier.predicted)
    ends = [*(switch.cost for switch in switches[1:]), float(frontier.grid[-1])]
    for switch, end in zip(switches, ends, strict=True):
        axes.barh(height, end - switch.cost, left=switch.cost, height=0.05, color=colors[switch.model], linewidth=0)
