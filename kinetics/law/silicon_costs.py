"""Seconds of a named device as a cost model: decode steps composed of fits of measured kernels, with their band.

A step stands for a full batch that is never short of answers; each row pays its share of all devices. Dense attention
is priced by the framework's own kernel. Block top-k is priced as a module of block-sparse attention (MSA), the only
block top-k that others have measured on GPUs; top-k as attention over as many keys, its search for free. What was not
measured on the device is a lower bound by data sheet. Prefill is in none of it, as it is not in the law.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import numpy as np

from kinetics.law.cost_models import ModelledStepCost
from kinetics.law.intervals import FloatArray
from kinetics.prediction.step_silicon import StepQuery, StepTime, step_time
from kinetics.prediction.step_sweep import USABLE_FRACTION, step_memory_of
from kinetics.samples.sample_set import SampleSet
from kinetics.specs.hardware import Accelerator
from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import AttentionPolicy, Dense, PolicyKind, policy_label
from kinetics.tables.table import Table, Value

DEFAULT_BATCH: Final = 64
STANDS_FOR: Final = {
    PolicyKind.DENSE: "dense: the framework's own attention",
    PolicyKind.TOPK: "top-k: attention over as many keys, its search for free, a lower bound",
    PolicyKind.BLOCK_TOPK: "block top-k: the block-sparse module of MiniMax M3 (MSA) stands for it",
    PolicyKind.LOCAL: "local: attention over a window",
}
"""What prices a policy, in words."""
SHOWN_CONTEXT: Final = 8192
"""Keys at which the table of parts shows a step."""
_CONTEXTS: Final = np.unique(np.geomspace(1, 2**21, 64).round())


class Edge(Enum):
    """Which end of a step's band is charged."""

    PREDICTED = "predicted"
    LOW = "low"
    HIGH = "high"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiliconPricing:
    """A device, whose kernels, how many requests a step serves, and how many devices share the model."""

    device: Accelerator
    framework: str
    batch: int = DEFAULT_BATCH
    num_devices: int = 1
    num_dense_layers: int = 0
    _known: dict[tuple[str, AttentionPolicy, int], StepTime] = field(default_factory=dict, repr=False, compare=False)

    def step(self, model: ModelSpec, policy: AttentionPolicy, context_len: int) -> StepTime:
        """One step in which every row sees so many keys.

        Raises: ValueError if the devices do not divide the model, or the framework is unknown.
        """
        key = (model.name, policy, context_len)
        if key not in self._known:
            self._known[key] = step_time(self._query(model, policy, context_len), self.device, self.framework)
        return self._known[key]

    def cost_model(
        self, model: ModelSpec, edge: Edge = Edge.PREDICTED, *, unit_s: float = 1.0, contexts: FloatArray = _CONTEXTS
    ) -> ModelledStepCost:
        """Device-seconds of answers, in units of `unit_s`; all devices that share a step are paid for.

        Steps are predicted at `contexts` and linear between them.
        """
        return ModelledStepCost(
            step_s=lambda policy, context: self._step_s(model, policy, context, edge) * self.num_devices / unit_s,
            batch=self.batch,
            contexts=contexts,
        )

    def largest_context(self, model: ModelSpec, policy: AttentionPolicy) -> int:
        """Keys that every row of the batch may see before memory is full; below 1 if weights do not fit."""
        one, two = (step_memory_of(self._query(model, policy, keys)).num_bytes for keys in (4096, 8192))
        free = USABLE_FRACTION * self.device.memory_bytes - one
        return int(4096 + free * 4096 / (two - one))

    def _step_s(self, model: ModelSpec, policy: AttentionPolicy, context_len: int, edge: Edge) -> float:
        seconds = _at(self.step(model, policy, context_len), edge)
        if not self.num_dense_layers or isinstance(policy, Dense):
            return seconds
        share = self.num_dense_layers / model.num_layers
        return (1 - share) * seconds + share * _at(self.step(model, Dense(), context_len), edge)

    def _query(self, model: ModelSpec, policy: AttentionPolicy, context_len: int) -> StepQuery:
        return StepQuery(
            architecture=model.architecture,
            batch=self.batch,
            context_len=context_len,
            num_devices=self.num_devices,
            policy=policy,
        )


def parts_table(pricing: SiliconPricing, steps: Sequence[tuple[ModelSpec, AttentionPolicy]]) -> Table:
    """What each step is composed of: seconds, where they come from, and how far off such parts were on unseen rows."""
    columns = (
        "model", "attention", "context", "batch", "devices", "part", "count", "seconds", "share", "source", "kernel",
        "error", "outside_measured",
    )  # fmt: skip
    return Table(name="pricing_parts", columns=columns, rows=tuple(_part_rows(pricing, steps)))


def pricing_notes(pricing: SiliconPricing, sets: Sequence[SampleSet], specs: Mapping[str, ModelSpec]) -> Iterator[str]:
    """What a reader must know: which parts were not measured there, what stands for what, and what does not fit."""
    kinds = {samples.policy.kind for samples in sets}
    yield from (text for kind, text in STANDS_FOR.items() if kind in kinds)
    roofs: dict[str, None] = {}
    for samples in sets:
        step = pricing.step(specs[samples.model], samples.policy, SHOWN_CONTEXT)
        roofs |= dict.fromkeys(part.name for part in step.parts if part.timing.is_roof)
    if roofs:
        yield (
            f"never measured on {pricing.device.name}, priced by the data sheet as a lower bound that may take twice "
            f"as long: {', '.join(roofs)}"
        )
    cramped = [text for samples in sets if (text := _misfit(pricing, samples, specs[samples.model]))]
    if cramped:
        yield (
            f"memory of {pricing.num_devices} x {pricing.device.name} holds fewer than {pricing.batch} answers as long "
            "as the longest, times are as if it did (a smaller --batch, or more devices by --tp): " + "; ".join(cramped)
        )


def _misfit(pricing: SiliconPricing, samples: SampleSet, model: ModelSpec) -> str:
    """How many tokens of how many fit, if they do not all."""
    fits = pricing.largest_context(model, samples.policy)
    longest = max(question.prompt_len + max(question.lengths, default=0) for question in samples.questions)
    return "" if fits >= longest else f"{samples.label} {max(0, fits):,} of {longest:,} tokens"


def _part_rows(
    pricing: SiliconPricing, steps: Sequence[tuple[ModelSpec, AttentionPolicy]]
) -> Iterator[tuple[Value, ...]]:
    for model, policy in steps:
        step = pricing.step(model, policy, SHOWN_CONTEXT)
        for part in step.parts:
            yield (
                model.name, policy_label(policy), SHOWN_CONTEXT, pricing.batch, pricing.num_devices, part.name,
                part.count, part.seconds, part.seconds / step.seconds, part.timing.source, part.timing.kernel,
                part.timing.error, ", ".join(part.timing.outside),
            )  # fmt: skip


def _at(step: StepTime, edge: Edge) -> float:
    return {Edge.PREDICTED: step.seconds, Edge.LOW: step.low_s, Edge.HIGH: step.high_s}[edge]
