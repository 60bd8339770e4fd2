"""The law as a report: curves and frontiers per task, gains of sparse attention, switch points, checked claims.

A report is made from the published curves or from graded samples; both give the same shape, which tables, figures
and the command line print. Long-CoT spends a budget on one long answer, Best-of-N on many.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kinetics.cost.published import INTENSITY, PUBLISHED_BILLION_PARAMETERS, TERA_EFLOP_PER_B200_S
from kinetics.law.claims import LONG_COT, CheckedClaim, Evidence, check_claims
from kinetics.law.fits import SpendingFit
from kinetics.law.frontier import (
    Curve,
    FloatArray,
    Frontier,
    Switch,
    build_frontier,
    cost_ratio,
    largest_gain,
    switch_points,
)
from kinetics.law.published import read_claims, read_published_curves
from kinetics.specs.policies import PolicyKind

PAPER_MODELS: Final = frozenset(PUBLISHED_BILLION_PARAMETERS)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelResult:
    """One model under one kind of attention: the oracle's curve, its interval over questions, and honest curves.

    `held_out` scores choices on samples that did not make them; `half_oracle` is the oracle on as many samples, so
    that their difference is the winner's curse and nothing else. `uniform` makes one choice for all questions. All
    are None for published curves.
    """

    curve: Curve
    low: FloatArray | None = None
    high: FloatArray | None = None
    half_oracle: FloatArray | None = None
    held_out: FloatArray | None = None
    uniform: FloatArray | None = None
    has_estimated_lengths: bool = False
    max_trials: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What a sparse frontier gives over the dense one.

    `cost_ratio` compares costs at the highest accuracy that dense attention reaches, `cost_ratio_on_grid` does so
    without interpolating between grid points.
    """

    kind: PolicyKind
    cost: float
    points: float
    dense_maximum: float
    cost_ratio: float
    cost_ratio_on_grid: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskResult:
    """Everything about one way of spending, long-CoT or Best-of-N."""

    task: str
    models: tuple[ModelResult, ...]
    frontiers: tuple[Frontier[Curve], ...]

    @property
    def switches(self) -> Mapping[PolicyKind, list[Switch]]:
        """Where the best model changes, per kind of attention."""
        return {frontier.kind: switch_points(frontier) for frontier in self.frontiers}

    @property
    def gains(self) -> list[Gain]:
        """Each sparse kind against dense; empty without a dense frontier."""
        dense = next((f for f in self.frontiers if f.kind is PolicyKind.DENSE), None)
        if dense is None:
            return []
        return [_gain(dense, sparse) for sparse in self.frontiers if sparse is not dense]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LawReport:
    """The law as regenerated: where its numbers come from, how costs were counted, and what came out."""

    source: str
    pricing: str
    tera_eflop_per_s: float
    device: str
    tasks: tuple[TaskResult, ...]
    claims: tuple[CheckedClaim, ...]
    notes: tuple[str, ...]
    fits: tuple[SpendingFit, ...] = ()


def published_report() -> LawReport:
    """The report that the published curves give, without any sample."""
    task = task_result(LONG_COT, [ModelResult(curve=curve) for curve in read_published_curves()])
    return LawReport(
        source="published AIME24 long-CoT curves (window-3 moving average over the cost grid)",
        pricing=f"as published: intensity {INTENSITY} FLOP/byte, weights read for free",
        tera_eflop_per_s=TERA_EFLOP_PER_B200_S,
        device="B200 as the paper rates it (4,500 TFLOP/s)",
        tasks=(task,),
        claims=judge_claims([task], {}),
        notes=(),
    )


def task_result(task: str, models: Sequence[ModelResult]) -> TaskResult:
    """Frontiers over models, one per kind of attention."""
    kinds = {model.curve.kind for model in models}
    frontiers = [
        build_frontier([model.curve for model in models if model.curve.kind is kind])
        for kind in PolicyKind
        if kind in kinds
    ]
    return TaskResult(task=task, models=tuple(models), frontiers=tuple(frontiers))


def _gain(dense: Frontier[Curve], sparse: Frontier[Curve]) -> Gain:
    cost, gain = largest_gain(sparse, dense)
    return Gain(
        kind=sparse.kind,
        cost=cost,
        points=100 * gain,
        dense_maximum=float(dense.accuracy.max()),
        cost_ratio=cost_ratio(dense, sparse),
        cost_ratio_on_grid=cost_ratio(dense, sparse, on_grid=True),
    )


def judge_claims(tasks: Sequence[TaskResult], numbers: Mapping[str, float]) -> tuple[CheckedClaim, ...]:
    """A verdict on every published claim; `numbers` are figures that only samples give, by claim key.

    Claims about frontiers are about all six published models: a frontier over other models is no evidence.
    """
    evidence = Evidence(
        curves={task.task: [model.curve for model in task.models] for task in tasks},
        frontiers={
            (task.task, frontier.kind): frontier
            for task in tasks
            for frontier in task.frontiers
            if {m.curve.model for m in task.models if m.curve.kind is frontier.kind} == PAPER_MODELS
        },
        numbers=numbers,
    )
    return check_claims(read_claims(), evidence)
