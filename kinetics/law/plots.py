"""Figures of the law: each function takes results and returns a matplotlib Figure; nothing is shown or measured here.

matplotlib is imported when a figure is made, so that everything else works without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kinetics.files.atomic import writing, written_aside
from kinetics.law.accuracy_estimates import MANY_CUT_OFF
from kinetics.law.choices import Choices
from kinetics.law.frontier import Curve, Frontier, Switch
from kinetics.law.intervals import Estimate
from kinetics.law.lengthening import Lengthening
from kinetics.law.logs import choices_on
from kinetics.law.measured_costs import EFLOP, MEASURED
from kinetics.law.report import LawReport, ModelResult, TaskResult
from kinetics.law.strategies import StrategyTable
from kinetics.specs.policies import PolicyKind

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Color = tuple[float, float, float, float]

_TASK_TITLES: Final = {
    "long_cot": "Long chain of thought", "best_of_n": "Best of N", "majority": "Majority",
    "weighted_majority": "Weighted majority", "early_stop": "Early stop",
}  # fmt: skip
_LABELS: Final = {
    EFLOP: "cost per question (1e12 eFLOP, B200 intensity)",
    MEASURED: "cost per question (measured seconds)",
}
_FAR_RATIOS: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_NEAR_RATIOS: Final = (0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.7, 2.0, 2.5)
_WIDE: Final = 4.0
"""Axes of ratios that span more have far ticks."""
DASHES: dict[PolicyKind, Any] = dict.fromkeys(PolicyKind, (0, (3, 1, 1, 1)))
DASHES |= {PolicyKind.DENSE: "--", PolicyKind.TOPK: "-", PolicyKind.BLOCK_TOPK: "-.", PolicyKind.LOCAL: ":"}


def is_plotting_possible() -> bool:
    """Whether matplotlib is installed."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def plot_task(report: LawReport, task: TaskResult) -> Figure:
    """Accuracy against cost of every model, thin, and of the frontiers, thick; below, which model is clearly best.

    One colour is one model in all of it. Bands are 95 % intervals over questions, where samples gave them; the oracle's
    frontiers beside them are grey.
    """
    from matplotlib.figure import Figure

    frontiers = task.choices or task.oracle
    figure = Figure(figsize=(9, 6.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(5, max(1, len(frontiers))))
    colors = model_colors([model.model for model in task.models])
    _draw_curves(upper, task, colors)
    if not task.is_oracle:
        for oracle in task.oracle:
            label = f"oracle, {oracle.kind.value}"
            dashes = DASHES[oracle.kind]
            upper.plot(oracle.cost, oracle.accuracy, color="grey", linestyle=dashes, linewidth=1.5, label=label)
    for found in frontiers:
        _draw_frontier(upper, found)
    upper.legend(fontsize=8, loc="upper left")
    upper.grid(visible=True, alpha=0.3)
    grid = frontiers[0].cost
    _draw_best_models(lower, task.switches, colors, end=float(grid[-1]))
    title = _TASK_TITLES.get(task.task, task.task.replace("_", " "))
    figure.suptitle(plain_text(f"{title}: {report.source}"), fontsize=10)
    scale_by_powers(upper)
    upper.set(ylabel="accuracy", xlim=(grid[0], grid[-1]), ylim=(0, 1))
    lower.set_xlabel("cost per question, at most (1e12 eFLOP)")
    seconds = upper.secondary_xaxis(
        "top", functions=(lambda cost: cost / report.tera_eflop_per_s, lambda s: s * report.tera_eflop_per_s)
    )
    _label_powers(seconds.xaxis)
    seconds.set_xlabel(plain_text(f"seconds on {report.device}"))
    return figure


def plot_strategies(table: StrategyTable, *, title: str, seed: int = 0) -> Figure:
    """Every strategy a dot in its model's colour, frontiers per kind of attention with 95 % bands."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    colors = model_colors([strategy.model for strategy in table.strategies])
    estimated = {strategy.model for strategy in table.strategies if strategy.has_estimated_lengths}
    for axes, cost_name in zip(panels, (EFLOP, MEASURED), strict=True):
        priced = table.priced(cost_name)
        for model, color in colors.items():
            own = [i for i, strategy in enumerate(priced.strategies) if strategy.model == model]
            costs = priced.cost[cost_name][:, own].mean(axis=0) if own else []
            label = plain_text(model) + (", lengths estimated" if model in estimated else "")
            axes.scatter(costs, priced.accuracy[:, own].mean(axis=0), s=6, color=color, alpha=0.5, label=label)
        for found in choices_on(table, cost_name, seed=seed):
            _draw_frontier(axes, found)
        scale_by_powers(axes)
        axes.set(xlabel=_LABELS[cost_name], ylim=(0, 1))
        axes.grid(visible=True, alpha=0.3)
    panels[0].set_ylabel("accuracy (solved by at least one trial)")
    panels[0].legend(fontsize=8, loc="upper left")
    figure.suptitle(plain_text(title), fontsize=10)
    return figure


def plot_lengthening(found: Sequence[Lengthening]) -> Figure:
    """What a sparse answer costs against a dense one: per token, in tokens, together; and tokens to a right answer.

    95 % intervals. Where too few questions were solved by both, nothing is said of tokens to a right answer.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 1.6 + 0.5 * len(found)), layout="constrained")
    panels = figure.subplots(1, 4, sharey=True)
    names = [plain_text(_lengthening_label(one)) for one in found]
    for axes, title, estimates in (
        (panels[0], "cost per token", [one.cost_per_token for one in found]),
        (panels[1], "tokens per answer", [one.tokens for one in found]),
        (panels[2], "cost per answer", [one.cost for one in found]),
        (panels[3], "tokens to a right answer", [one.tokens_to_right for one in found]),
    ):
        _draw_estimates(axes, estimates)
        axes.axvline(1.0, color="grey", linewidth=1)
        axes.set(title=title, xlabel="sparse / dense", xscale="log")
        _label_ratios(axes)
        axes.grid(visible=True, alpha=0.3)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].invert_yaxis()
    return figure


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and SVG, each at once; the same figure gives the same bytes.

    Raises: CannotWriteError naming the folder.
    """
    import matplotlib as mpl

    # Once for both files: laying out draws everything, and costs as much as writing it.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    written = []
    for suffix, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        path = folder / f"{name}.{suffix}"
        settings = mpl.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"})
        with writing(f"output folder {folder}"), written_aside(path) as partial, settings:
            figure.savefig(partial, metadata=metadata, dpi=130)
        written.append(path)
    return written


def scale_by_powers(axes: Axes) -> None:
    """A logarithmic axis of costs, ticks at powers of ten alone and no formulas: both take longer than all else."""
    axes.set_xscale("log")
    _label_powers(axes.xaxis)


def _label_powers(axis: Axis) -> None:
    from matplotlib.ticker import NullLocator

    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def plain_text(text: str) -> str:
    """Text in which dollars do not start a formula: names of models and files come from outside."""
    return text.replace("$", r"\$")


def model_colors(models: Sequence[str]) -> dict[str, Color]:
    """One colour a model, small models light."""
    from matplotlib import colormaps

    names = list(dict.fromkeys(models))
    spread = max(1, len(names) - 1)
    return {name: colormaps["viridis_r"](0.1 + 0.9 * i / spread) for i, name in enumerate(names)}


def _draw_curves(axes: Axes, task: TaskResult, colors: Mapping[str, Color]) -> None:
    for model in task.models:
        curve: Curve | Choices | None = model.choices or model.oracle
        assert curve is not None
        label = _curve_label(model) if model.kind is task.models[0].kind else None
        color, dashes = colors[model.model], DASHES[model.kind]
        axes.plot(curve.cost, curve.accuracy, color=color, linestyle=dashes, linewidth=1, label=label)


def _curve_label(model: ModelResult) -> str:
    """The model's name, and what makes its curve less than it seems."""
    said = [plain_text(model.model)]
    if model.facts and model.facts.has_estimated_lengths:
        said.append("lengths estimated")
    if model.facts and model.facts.cut_off > MANY_CUT_OFF:
        said.append(f"{model.facts.cut_off:.0%} cut off")
    return ", ".join(said)


def _draw_frontier(axes: Axes, found: Choices | Frontier[Curve]) -> None:
    label, dashes = f"frontier, {found.kind.value}", DASHES[found.kind]
    axes.plot(found.cost, found.accuracy, color="black", linestyle=dashes, linewidth=2.2, label=label)
    if isinstance(found, Choices):
        interval = found.interval
        axes.fill_between(found.cost, interval.low, interval.high, color="black", alpha=0.1, linewidth=0)


def _draw_best_models(
    axes: Axes, by_kind: Mapping[PolicyKind, Sequence[Switch]], colors: Mapping[str, Color], *, end: float
) -> None:
    for row, switches in enumerate(by_kind.values()):
        ends = [*(switch.cost for switch in switches[1:]), end]
        for switch, stop in zip(switches, ends, strict=False):
            axes.barh(row, stop - switch.cost, left=switch.cost, height=0.8, color=colors[switch.model], linewidth=0)
            if switch.low is not None and switch.high is not None:
                axes.plot([switch.low, switch.high], [row, row], color="black", linewidth=1)
    axes.set_yticks(range(len(by_kind)), [kind.value for kind in by_kind])
    axes.set_ylabel("best model")


def _label_ratios(axes: Axes) -> None:
    """Few ticks on a logarithmic axis of ratios, written out."""
    low, high = axes.get_xlim()
    wide = high / low > _WIDE
    ticks = [ratio for ratio in (_FAR_RATIOS if wide else _NEAR_RATIOS) if low <= ratio <= high]
    axes.minorticks_off()
    axes.set_xticks(ticks, [f"{ratio:g}" for ratio in ticks])


def _lengthening_label(one: Lengthening) -> str:
    """Whose it is, and by what cost, where there are several."""
    said = [f"{one.model} {one.attention}"]
    if one.cost_name:
        said.append(one.cost_name)
    if one.has_estimated_lengths:
        said.append("lengths estimated")
    return ", ".join(said)


def _draw_estimates(axes: Axes, estimates: Sequence[Estimate | None]) -> None:
    for row, one in enumerate(estimates):
        if one is None:
            continue
        axes.plot([one.low, one.high], [row, row], color="black", linewidth=1.5)
        axes.plot([one.value], [row], "o", color="black")
