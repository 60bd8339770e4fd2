"""The law as a report: curves and frontiers per task, gains of sparse attention, switch points, checked claims.

A report is made from the published curves or from graded samples; both give the same shape, which tables, figures
and the command line print. Long-CoT spends a budget on one long answer, Best-of-N on many. What the paper's oracle
says, which chooses for every question on the samples that score it, is named so; the published curves are nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from kinetics.cost.published import INTENSITY, PUBLISHED_BILLION_PARAMETERS, TERA_EFLOP_PER_B200_S
from kinetics.law import choices, frontier
from kinetics.law.answer import Answer
from kinetics.law.choices import Choices, Lead, lead_over_dense
from kinetics.law.claims import LONG_COT, Evidence
from kinetics.law.fits import SpendingFit
from kinetics.law.frontier import Curve, Frontier, Switch, build_frontier, cost_ratio, largest_gain
from kinetics.law.intervals import FloatArray
from kinetics.law.lengthening import Lengthening
from kinetics.law.published import read_claims, read_published_curves
from kinetics.law.strategies import StrategyTable
from kinetics.law.verdicts import CheckedClaim, check_claims
from kinetics.specs.policies import PolicyKind

PAPER_MODELS: Final = frozenset(PUBLISHED_BILLION_PARAMETERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveFacts:
    """What a reader of a curve should know of its samples.

    `cut_off`: the share of answers that the length cap stopped before they were right; `max_trials`: the most answers
    that a strategy draws, where that is what it spends on.
    """

    has_estimated_lengths: bool
    cut_off: float
    max_trials: int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelResult:
    """One model under one kind of attention: what one choice for all questions gives, and what the oracle says.

    `held_out` scores the oracle's choices on samples that did not make them; `half_oracle` is the oracle on as many
    samples, so that their difference is the winner's curse and nothing else. Published curves have `oracle` alone.
    """

    model: str
    kind: PolicyKind
    oracle: Curve | None = None
    choices: Choices | None = None
    half_oracle: FloatArray | None = None
    held_out: FloatArray | None = None
    facts: CurveFacts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleLead:
    """What the sparse oracle's frontier gives over the dense one's: largest gain in points, and costs at dense's best.

    `cost_ratio_on_grid` does not interpolate between grid points.
    """

    cost: float
    points: float
    dense_maximum: float
    cost_ratio: float
    cost_ratio_on_grid: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What sparse attention of one kind gives over dense: by choices that other questions score, and by the oracle."""

    kind: PolicyKind
    dense_maximum: float
    lead: Lead | None
    oracle: OracleLead | None


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskResult:
    """Everything about one way of spending, such as long-CoT or Best-of-N.

    `choices` and `oracle`: over all models, one per kind of attention.
    """

    task: str
    models: tuple[ModelResult, ...]
    choices: tuple[Choices, ...] = ()
    oracle: tuple[Frontier[Curve], ...] = ()

    @property
    def is_oracle(self) -> bool:
        """Whether the oracle is all there is."""
        return not self.choices

    @cached_property
    def switches(self) -> dict[PolicyKind, list[Switch]]:
        """Where the best model changes, per kind of attention: clearly so, where samples say how sure that is."""
        if self.is_oracle:
            return {found.kind: frontier.switch_points(found) for found in self.oracle}
        own = {found.kind: self._choices_of(found.kind) for found in self.choices}
        return {kind: choices.switch_points(models, seed=self.choices[0].seed) for kind, models in own.items()}

    @cached_property
    def gains(self) -> list[Gain]:
        """Each sparse kind against dense; empty without dense."""
        chosen, oracle = {found.kind: found for found in self.choices}, {found.kind: found for found in self.oracle}
        dense, dense_oracle = chosen.get(PolicyKind.DENSE), oracle.get(PolicyKind.DENSE)
        best = dense or dense_oracle
        if best is None:
            return []
        return [
            Gain(
                kind=kind,
                dense_maximum=float(best.accuracy.max()),
                lead=lead_over_dense(dense, chosen[kind]) if dense and kind in chosen else None,
                oracle=_oracle_lead(dense_oracle, oracle[kind]) if dense_oracle and kind in oracle else None,
            )
            for kind in (chosen or oracle)
            if kind is not PolicyKind.DENSE
        ]

    def _choices_of(self, kind: PolicyKind) -> list[tuple[str, Choices]]:
        return [(model.model, model.choices) for model in self.models if model.kind is kind and model.choices]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LawReport:
    """The law as regenerated: where its numbers come from, how costs were counted, and what came out.

    `answers`: what to run; `strategies`: all that were compared. Published curves have neither. `estimated_models`:
    those whose lengths are estimates.
    """

    source: str
    pricing: str
    tera_eflop_per_s: float
    device: str
    tasks: tuple[TaskResult, ...]
    claims: tuple[CheckedClaim, ...]
    notes: tuple[str, ...]
    fits: tuple[SpendingFit, ...] = ()
    lengthenings: tuple[Lengthening, ...] = ()
    strategies: StrategyTable | None = None
    estimated_models: frozenset[str] = frozenset()
    dollars_per_hour: float | None = None
    answers: tuple[Answer, ...] = ()


def published_report() -> LawReport:
    """The report that the published curves give, without any sample."""
    curves = read_published_curves()
    models = [ModelResult(model=curve.model, kind=curve.kind, oracle=curve) for curve in curves]
    task = TaskResult(task=LONG_COT, models=tuple(models), oracle=oracle_frontiers(models))
    return LawReport(
        source="published AIME24 long-CoT curves (window-3 moving average over the cost grid)",
        pricing=f"as published: intensity {INTENSITY} FLOP/byte, weights read for free",
        tera_eflop_per_s=TERA_EFLOP_PER_B200_S,
        device="B200 as the paper rates it (4,500 TFLOP/s)",
        tasks=(task,),
        claims=judge_claims([task], {}, is_papers=True),
        notes=(),
    )


def oracle_frontiers(models: Sequence[ModelResult]) -> tuple[Frontier[Curve], ...]:
    """The oracle's frontier over models, one per kind of attention that has curves."""
    groups = ([model.oracle for model in models if model.kind is kind and model.oracle] for kind in PolicyKind)
    return tuple(build_frontier(group) for group in groups if group)


def _oracle_lead(dense: Frontier[Curve], sparse: Frontier[Curve]) -> OracleLead:
    cost, gain = largest_gain(sparse, dense)
    return OracleLead(
        cost=cost,
        points=100 * gain,
        dense_maximum=float(dense.accuracy.max()),
        cost_ratio=cost_ratio(dense, sparse),
        cost_ratio_on_grid=cost_ratio(dense, sparse, on_grid=True),
    )


def judge_claims(
    tasks: Sequence[TaskResult], numbers: Mapping[str, float], *, is_papers: bool = False
) -> tuple[CheckedClaim, ...]:
    """A verdict on every published claim; `numbers` are figures that only samples give, by claim key.

    Claims about frontiers are about all six published models, and about the oracle, which is what the paper draws: a
    frontier over other models is no evidence. `is_papers`: whether the tasks are the paper's own curves.
    """
    evidence = Evidence(
        curves={task.task: [model.oracle for model in task.models if model.oracle] for task in tasks},
        frontiers={
            (task.task, found.kind): found
            for task in tasks
            for found in task.oracle
            if {model.model for model in task.models if model.kind is found.kind} == PAPER_MODELS
        },
        numbers=numbers,
        is_papers=is_papers,
    )
    return check_claims(read_claims(), evidence)
