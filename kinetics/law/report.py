"""The law as a report: curves and frontiers per task, gains of sparse attention, switch points, checked claims.

A report is made from the published curves or from graded samples; both give the same shape, which tables, figures
and the command line print. Long-CoT spends a budget on one long answer, Best-of-N on many.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kinetics.cost.published import INTENSITY, PUBLISHED_BILLION_PARAMETERS, TERA_EFLOP_PER_B200_S
from kinetics.law.claims import LONG_COT, CheckedClaim, Evidence, check_claims, speedup_at_dense_maximum
from kinetics.law.fits import SpendingFit
from kinetics.law.frontier import (
    Curve,
    Frontier,
    Switch,
    build_frontier,
    grid_cost_to_reach,
    largest_gain,
    switch_points,
)
from kinetics.law.published import read_claims, read_published_curves
from kinetics.specs.policies import PolicyKind

FloatArray = NDArray[np.float64]

PAPER_MODELS: Final = frozenset(PUBLISHED_BILLION_PARAMETERS)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelResult:
    """One model under one family: the oracle's curve, its interval over questions, and honest curves.

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

    `speedup` compares costs at the highest accuracy that dense attention reaches, `grid_speedup` does so without
    interpolating between grid points.
    """

    attention: str
    cost: float
    points: float
    dense_maximum: float
    speedup: float
    grid_speedup: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskResult:
    """Everything about one way of spending, long-CoT or Best-of-N."""

    task: str
    models: tuple[ModelResult, ...]
    frontiers: tuple[Frontier, ...]

    @property
    def switches(self) -> Mapping[str, list[Switch]]:
        """Where the best model changes, per family."""
        return {frontier.attention: switch_points(frontier) for frontier in self.frontiers}

    @property
    def gains(self) -> list[Gain]:
        """Each sparse family against dense; empty without a dense frontier."""
        dense = next((f for f in self.frontiers if f.attention == PolicyKind.DENSE.value), None)
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
    """Frontiers over models, one per attention family."""
    attentions = list(dict.fromkeys(model.curve.attention for model in models))
    attentions.sort(key=[family.value for family in PolicyKind].index)
    frontiers = [build_frontier([m.curve for m in models if m.curve.attention == name]) for name in attentions]
    return TaskResult(task=task, models=tuple(models), frontiers=tuple(frontiers))


def _gain(dense: Frontier, sparse: Frontier) -> Gain:
    cost, gain = largest_gain(sparse, dense)
    highest = float(dense.accuracy.max())
    return Gain(
        attention=sparse.attention,
        cost=cost,
        points=100 * gain,
        dense_maximum=highest,
        speedup=speedup_at_dense_maximum(dense, sparse),
        grid_speedup=grid_cost_to_reach(highest, dense) / grid_cost_to_reach(highest, sparse),
    )


def judge_claims(tasks: Sequence[TaskResult], numbers: Mapping[str, float]) -> tuple[CheckedClaim, ...]:
    """A verdict on every published claim; `numbers` are figures that only samples give, by claim key.

    Claims about frontiers are about all six published models: a frontier over other models is no evidence.
    """
    evidence = Evidence(
        curves={task.task: [model.curve for model in task.models] for task in tasks},
        frontiers={
            (task.task, frontier.attention): frontier
            for task in tasks
            for frontier in task.frontiers
            if {m.curve.model for m in task.models if m.curve.attention == frontier.attention} == PAPER_MODELS
        },
        numbers=numbers,
    )
    return check_claims(read_claims(), evidence)
