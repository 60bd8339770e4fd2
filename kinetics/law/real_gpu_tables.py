"""The paper on real GPUs as tables: what accuracy costs, what sparse attention gives, where the best model changes.

The paper's own counting comes first in each, in eFLOP and in seconds of its B200; seconds of devices are of all GPUs
that share a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from kinetics.cost.published import TERA_EFLOP_PER_B200_S
from kinetics.law.frontier import (
    Curve,
    Frontier,
    build_frontier,
    cost_ratio,
    cost_to_reach,
    largest_gain,
    switch_points,
)
from kinetics.law.real_gpus import PaperOnGpu, TimedFrontier, gain_over_dense
from kinetics.law.tables import ratio_or_none, ratio_values
from kinetics.specs.policies import PolicyKind
from kinetics.tables.table import Table, Value

ON_GPUS: Final = (
    "top-k's search for free, block top-k as the module of MiniMax M3 (MSA); each model on the fewest GPUs that hold "
    "the batch, all of them paid for"
)
"""How the devices are priced, in words."""
AS_PUBLISHED: Final = "as published"
ACCURACIES: Final = tuple(step / 20 for step in range(2, 17))
"""The accuracies whose seconds are listed."""


def real_gpu_tables(curves: Sequence[Curve], found: Sequence[PaperOnGpu]) -> list[Table]:
    """Gains, best models and seconds by accuracy of every device and batch; `curves`: the published ones."""
    published = {
        kind: build_frontier([curve for curve in curves if curve.kind is kind])
        for kind in (PolicyKind.DENSE, PolicyKind.TOPK)
    }
    return [_gains(published, found), _best_models(published, found), _seconds(published, found)]


def unmeasured_remarks(found: Sequence[PaperOnGpu]) -> Iterator[str]:
    """What was never measured on a device, so that it is a lower bound there."""
    parts = {one.device.name: one.unmeasured for one in found}
    yield from (
        f"never measured on {name}, priced by the data sheet as a lower bound that may take twice as long: "
        f"{', '.join(of_device)}"
        for name, of_device in parts.items()
        if of_device
    )


def _gains(published: dict[PolicyKind, Frontier[Curve]], found: Sequence[PaperOnGpu]) -> Table:
    columns = (
        "device", "batch", "attention", "gpus_a_model", "largest_gain_points", "gain_low", "gain_high",
        "at_gpu_seconds", "cost_ratio_at_dense_maximum", "ratio_low", "ratio_high", "fitted_share", "by_data_sheet",
    )  # fmt: skip
    dense, sparse = published[PolicyKind.DENSE], published[PolicyKind.TOPK]
    cost, gain = largest_gain(sparse, dense)
    rows: list[tuple[Value, ...]] = [
        (AS_PUBLISHED, "any", "topk", "", 100 * gain, None, None, cost / TERA_EFLOP_PER_B200_S,
         ratio_or_none(cost_ratio(dense, sparse), float(dense.accuracy.max())), None, None, None, "everything")
    ]  # fmt: skip
    rows += [_gain_row(one, frontier) for one in found for frontier in one.frontiers[1:]]
    return Table(name="real_gpu_gains", columns=columns, rows=tuple(rows))


def _gain_row(one: PaperOnGpu, sparse: TimedFrontier) -> tuple[Value, ...]:
    dense = one.of_kind(PolicyKind.DENSE)
    gain = gain_over_dense(dense, sparse)
    points, ratio = gain.points, ratio_values(gain.cost_ratio, float(dense.predicted.accuracy.max()))
    return (
        one.device.name, one.batch, sparse.kind.value, " ".join(str(curve.num_devices) for curve in sparse.curves),
        points.value, points.low, points.high, gain.seconds, *ratio,
        one.fitted_share(sparse.kind), ", ".join(one.unmeasured_of(sparse.kind)),
    )  # fmt: skip


def _best_models(published: dict[PolicyKind, Frontier[Curve]], found: Sequence[PaperOnGpu]) -> Table:
    columns = (
        "device", "batch", "attention", "from_tera_eflop", "from_gpu_seconds", "surely_from", "best_model", "accuracy",
    )  # fmt: skip
    rows: list[tuple[Value, ...]] = [
        (AS_PUBLISHED, "any", kind.value, switch.cost, switch.cost / TERA_EFLOP_PER_B200_S, None, switch.model,
         switch.accuracy)
        for kind, frontier in published.items()
        for switch in switch_points(frontier)
    ]  # fmt: skip
    rows += [row for one in found for frontier in one.frontiers for row in _switch_rows(one, frontier)]
    return Table(name="real_gpu_best_models", columns=columns, rows=tuple(rows))


def _switch_rows(one: PaperOnGpu, frontier: TimedFrontier) -> Iterator[tuple[Value, ...]]:
    switches = switch_points(frontier.predicted)
    ends = [*(switch.cost for switch in switches[1:]), float("inf")]
    for switch, end in zip(switches, ends, strict=True):
        sure = frontier.grid[frontier.leads(switch.model) > 0]
        sure = sure[(sure >= switch.cost) & (sure < end)]
        yield (
            one.device.name, one.batch, frontier.kind.value, None, switch.cost, float(sure[0]) if sure.size else None,
            switch.model, switch.accuracy,
        )  # fmt: skip


def _seconds(published: dict[PolicyKind, Frontier[Curve]], found: Sequence[PaperOnGpu]) -> Table:
    columns = ("device", "batch", "attention", "accuracy", "tera_eflop", "gpu_seconds", "low", "high", "model")
    rows: list[tuple[Value, ...]] = [
        (AS_PUBLISHED, "any", kind.value, accuracy, cost, cost / TERA_EFLOP_PER_B200_S, None, None,
         frontier.best_model[int(frontier.cost.searchsorted(cost))])
        for kind, frontier in published.items()
        for accuracy in ACCURACIES
        if (cost := cost_to_reach(accuracy, frontier, on_grid=True)) < float("inf")
    ]  # fmt: skip
    for one in found:
        for frontier in one.frontiers:
            reached = ((accuracy, frontier.seconds_for(accuracy)) for accuracy in ACCURACIES)
            rows += [
                (one.device.name, one.batch, frontier.kind.value, accuracy, None, price[0].value, price[0].low,
                 price[0].high, price[1])
                for accuracy, price in reached
                if price
            ]  # fmt: skip
    return Table(name="real_gpu_seconds", columns=columns, rows=tuple(rows), prints_markdown=False)
