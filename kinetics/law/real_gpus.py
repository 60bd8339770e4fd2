"""The paper on real GPUs: its published curves in seconds of devices that others have measured.

A published curve says what accuracy a cost in eFLOP buys, not which answers. It is read as one answer as long as the
published formula makes for that cost, up to the paper's cap; the devices' fits say how long that answer takes in a full
batch. Of top-k the budget is not known either: the paper's own fit of the best budget is taken, and all its budgets
that can spend the cost widen the band.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from kinetics.cost.published import TOPK_BUDGETS
from kinetics.law.claims import PUBLISHED_BUDGET_FIT
from kinetics.law.frontier import Curve, Frontier, accuracy_at, build_frontier, cost_to_reach, largest_gain
from kinetics.law.intervals import Estimate, FloatArray
from kinetics.law.paid_lengths import PROMPT_LEN, paid_lengths, published_costs
from kinetics.law.silicon_costs import SHOWN_CONTEXT, Edge, SiliconPricing
from kinetics.prediction.step_silicon import StepTime
from kinetics.specs.generation import MAX_GENERATED
from kinetics.specs.hardware import Accelerator
from kinetics.specs.models import ModelSpec, find_model
from kinetics.specs.policies import AttentionPolicy, BlockTopK, Dense, PolicyKind, TopK

BATCHES: Final = (1, 16, 64)
MSA_BLOCK: Final = 128
"""Keys of a block in the measured module that stands for block top-k."""
_DEVICE_COUNTS: Final = (1, 2, 4, 8)
_GRID_STEPS: Final = 400
_LAST_CONTEXT: Final = float(PROMPT_LEN + MAX_GENERATED + 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimedCurve:
    """A published curve of one model in device-seconds: predicted, and both ends of the band, [num_costs] each."""

    model: str
    kind: PolicyKind
    num_devices: int
    accuracy: FloatArray
    seconds: FloatArray
    low_s: FloatArray
    high_s: FloatArray

    def on(self, grid: FloatArray, seconds: FloatArray) -> Curve:
        """What so many seconds buy, of one of the three: the most accurate point within them."""
        best = np.maximum.accumulate(np.concatenate([[0.0], self.accuracy]))
        return Curve(
            model=self.model, kind=self.kind, cost=grid, accuracy=best[np.searchsorted(seconds, grid, side="right")]
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class TimedFrontier:
    """The frontier over models of one kind of attention on one device at one batch, the smallest model first."""

    kind: PolicyKind
    curves: tuple[TimedCurve, ...]
    grid: FloatArray

    @cached_property
    def predicted(self) -> Frontier[Curve]:
        """At predicted seconds."""
        return build_frontier([curve.on(self.grid, curve.seconds) for curve in self.curves])

    @cached_property
    def cheap(self) -> Frontier[Curve]:
        """If every answer takes as long as the low end of its band says."""
        return build_frontier([curve.on(self.grid, curve.low_s) for curve in self.curves])

    @cached_property
    def dear(self) -> Frontier[Curve]:
        """If every answer takes as long as the high end of its band says."""
        return build_frontier([curve.on(self.grid, curve.high_s) for curve in self.curves])

    def seconds_for(self, accuracy: float) -> tuple[Estimate, str] | None:
        """What an accuracy costs, and the model that gets there first; None if none does.

        The high end is infinite if the accuracy is out of reach there.
        """
        seconds, low, high = (
            cost_to_reach(accuracy, found, on_grid=True) for found in (self.predicted, self.cheap, self.dear)
        )
        if not np.isfinite(seconds):
            return None
        model = self.predicted.best_model[int(np.searchsorted(self.grid, seconds))]
        return Estimate(value=seconds, low=low, high=high), model

    def leads(self, model: str) -> FloatArray:
        """How far a model is surely ahead of all others at each cost: it at its high end, they at their low one."""
        own = [curve.on(self.grid, curve.high_s).accuracy for curve in self.curves if curve.model == model]
        others = [curve.on(self.grid, curve.low_s).accuracy for curve in self.curves if curve.model != model]
        return np.asarray(np.max(own, axis=0) - np.max(others, axis=0, initial=0.0))


@dataclass(frozen=True, kw_only=True, eq=False)
class PaperOnGpu:
    """All published curves on one device at one batch; top-k also as block top-k, whose search is paid for."""

    device: Accelerator
    framework: str
    batch: int
    frontiers: tuple[TimedFrontier, ...]
    steps: Mapping[PolicyKind, tuple[StepTime, ...]]

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """Parts that nobody measured on the device: lower bounds by its data sheet."""
        return tuple(dict.fromkeys(part for kind in self.steps for part in self.unmeasured_of(kind)))

    def unmeasured_of(self, kind: PolicyKind) -> tuple[str, ...]:
        """Those of one kind of attention."""
        parts = (part for step in self.steps[kind] for part in step.parts if part.timing.is_roof)
        return tuple(dict.fromkeys(part.name for part in parts))

    def fitted_share(self, kind: PolicyKind) -> float:
        """The smallest share of a step's time that fits stand behind, over models."""
        return min(step.fitted_fraction for step in self.steps[kind])

    def of_kind(self, kind: PolicyKind) -> TimedFrontier:
        """The frontier of one kind of attention."""
        return next(found for found in self.frontiers if found.kind is kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedGain:
    """What sparse attention gives on a device: points at the cost of the largest gain, and the cost ratio.

    The ratio is of the costs at the highest accuracy that dense reaches; 0 if sparse never gets there.
    """

    seconds: float
    points: Estimate
    cost_ratio: Estimate


def paper_on_gpu(
    curves: Sequence[Curve], device: Accelerator, framework: str, *, batch: int, kinds: Sequence[PolicyKind] = ()
) -> PaperOnGpu:
    """The published curves on a device; `kinds` of attention, all three by default.

    Raises: ValueError if the framework is unknown.
    """
    wanted = kinds or (PolicyKind.DENSE, PolicyKind.TOPK, PolicyKind.BLOCK_TOPK)
    timer = _Timer(device=device, framework=framework, batch=batch)
    dense, sparse = ([one for one in curves if (one.kind is PolicyKind.DENSE) is wants] for wants in (True, False))
    timed = [timer.timed(curve, kind) for kind in wanted for curve in (dense if kind is PolicyKind.DENSE else sparse)]
    ends = (min(float(one.low_s.min()) for one in timed), max(float(one.high_s.max()) for one in timed))
    grid = np.geomspace(*ends, _GRID_STEPS)
    return PaperOnGpu(
        device=device,
        framework=framework,
        batch=batch,
        frontiers=tuple(
            TimedFrontier(kind=kind, curves=tuple(one for one in timed if one.kind is kind), grid=grid)
            for kind in wanted
        ),
        steps={kind: tuple(timer.steps(kind, [curve.model for curve in dense or sparse])) for kind in wanted},
    )


def gain_over_dense(dense: TimedFrontier, sparse: TimedFrontier) -> TimedGain:
    """Sparse against dense; intervals set one at its high end against the other at its low one."""
    at, gain = largest_gain(sparse.predicted, dense.predicted)
    points = Estimate(
        value=100 * gain,
        low=100 * (accuracy_at(at, sparse.dear) - accuracy_at(at, dense.cheap)),
        high=100 * (accuracy_at(at, sparse.cheap) - accuracy_at(at, dense.dear)),
    )
    return TimedGain(seconds=at, points=points, cost_ratio=_cost_ratio(dense, sparse))


def _cost_ratio(dense: TimedFrontier, sparse: TimedFrontier) -> Estimate:
    highest = float(dense.predicted.accuracy.max())

    def ratio(one: Frontier[Curve], other: Frontier[Curve]) -> float:
        return cost_to_reach(highest, one, on_grid=True) / cost_to_reach(highest, other, on_grid=True)

    return Estimate(
        value=ratio(dense.predicted, sparse.predicted),
        low=ratio(dense.cheap, sparse.dear),
        high=ratio(dense.dear, sparse.cheap),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timer:
    """Turns published costs into seconds of one device at one batch."""

    device: Accelerator
    framework: str
    batch: int

    def timed(self, curve: Curve, kind: PolicyKind) -> TimedCurve:
        """One published curve, timed as a kind of attention."""
        model = find_model(curve.model)
        pricing = self._pricing(model)
        if kind is PolicyKind.DENSE:
            low, middle, high = _edges_s(pricing, model, Dense(), Dense(), curve.cost)
        else:
            low, middle, high = self._over_budgets(pricing, model, kind, curve.cost)
        # A longer answer under a smaller budget may cost more eFLOP and fewer seconds: what was paid stays paid.
        low, middle, high = (np.maximum.accumulate(values) for values in (low, middle, high))
        return TimedCurve(
            model=curve.model, kind=kind, num_devices=pricing.num_devices, accuracy=curve.accuracy, seconds=middle,
            low_s=low, high_s=high,
        )  # fmt: skip

    def steps(self, kind: PolicyKind, models: Sequence[str]) -> Iterator[StepTime]:
        """A step of every model under one kind of attention, at the context where tables show one."""
        for model in map(find_model, models):
            yield self._pricing(model).step(model, _timed_as(kind, TOPK_BUDGETS[-1]), SHOWN_CONTEXT)

    def _over_budgets(
        self, pricing: SiliconPricing, model: ModelSpec, kind: PolicyKind, cost: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(low, predicted, high) where the budget is not known."""
        found = [
            _edges_s(pricing, model, TopK(kv_budget=budget), _timed_as(kind, budget), cost) for budget in TOPK_BUDGETS
        ]
        seconds = np.array(found)
        most = np.array([published_costs(model, TopK(kv_budget=budget))[-1] for budget in TOPK_BUDGETS])
        can_spend = most[:, None] >= cost
        can_spend[-1] |= ~can_spend.any(axis=0)
        best = np.array([min(max(PUBLISHED_BUDGET_FIT(one), TOPK_BUDGETS[0]), TOPK_BUDGETS[-1]) for one in cost])
        distance = np.abs(np.log(np.array(TOPK_BUDGETS)[:, None] / best))
        nearest = np.where(can_spend, distance, np.inf).argmin(axis=0)
        low = np.where(can_spend, seconds[:, 0], np.inf).min(axis=0)
        high = np.where(can_spend, seconds[:, 2], 0.0).max(axis=0)
        return low, seconds[nearest, 1, np.arange(cost.size)], high

    def _pricing(self, model: ModelSpec) -> SiliconPricing:
        """On the fewest devices that hold the batch with answers of all ages: half the longest one on average."""
        for count in _DEVICE_COUNTS:
            pricing = SiliconPricing(device=self.device, framework=self.framework, batch=self.batch, num_devices=count)
            if pricing.largest_context(model, Dense()) >= PROMPT_LEN + MAX_GENERATED / 2:
                return pricing
        raise ValueError(
            f"{model.name} at batch {self.batch} must fit into {_DEVICE_COUNTS[-1]} x {self.device.name}, "
            "got too little memory; take a smaller --batch"
        )


def _timed_as(kind: PolicyKind, budget: int) -> AttentionPolicy:
    """What is timed for an answer of the published top-k curve."""
    if kind is PolicyKind.DENSE:
        return Dense()
    if kind is PolicyKind.BLOCK_TOPK:
        return BlockTopK(block_size=MSA_BLOCK, top_blocks=max(1, budget // MSA_BLOCK))
    return TopK(kv_budget=budget)


def _edges_s(
    pricing: SiliconPricing, model: ModelSpec, charged: AttentionPolicy, timed: AttentionPolicy, cost: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(low, predicted, high) device-seconds of the answers that published costs pay for."""
    lengths = paid_lengths(model, charged, cost)[:, None]
    low, middle, high = (
        pricing.cost_model(model, edge, contexts=_contexts(timed)).mean_costs(
            timed, prompt_len=PROMPT_LEN, lengths=lengths, trials=[1]
        )[:, 0]
        for edge in (Edge.LOW, Edge.PREDICTED, Edge.HIGH)
    )
    return low, middle, high


def _contexts(policy: AttentionPolicy) -> FloatArray:
    """Where steps are predicted: few for a policy, whose keys stop growing at its budget."""
    if isinstance(policy, TopK):
        return np.array([1.0, policy.kv_budget, _LAST_CONTEXT])
    if isinstance(policy, BlockTopK):
        return np.array([1.0, policy.kv_budget, policy.kv_budget + 1, 8192, _LAST_CONTEXT])
    return np.unique(np.geomspace(1, _LAST_CONTEXT, 14).round())
