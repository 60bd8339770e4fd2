"""Decode steps over devices, attention, batches and contexts: times, memory, throughput and price, one row each.

A row that does not fit into memory keeps its time, says so, and says what would fit. Prices are of devices by the hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from kinetics.cost.memory import MemoryNeed
from kinetics.prediction.step_silicon import StepQuery, StepTime, apply_policy, step_time
from kinetics.specs.architectures import Architecture
from kinetics.specs.cache_formats import CacheFormat
from kinetics.specs.hardware import Accelerator
from kinetics.specs.policies import AttentionPolicy, BlockTopK, Dense
from kinetics.specs.weight_formats import WeightFormats

USABLE_FRACTION: Final = 0.9
"""Of a device's memory, what servers give to weights, caches and buffers; the rest is the driver's and the graphs'."""
_LOGIT_BYTES, _BUFFERS = 4, 2
_MILLION, _SECONDS_AN_HOUR = 10**6, 3600
_DEVICE_COUNTS: Final = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What to predict: every combination. `policies` by label, None being the model's own attention."""

    architecture: Architecture
    devices: Sequence[Accelerator]
    framework: str
    policies: Mapping[str, AttentionPolicy | None]
    batches: Sequence[int]
    context_lens: Sequence[int]
    device_counts: Sequence[int]
    cache: CacheFormat
    weights: WeightFormats | None = None
    dollars_per_hour: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRow:
    """One step: how long, what it needs of each device, what a token costs. Dollars are None without a price."""

    device: Accelerator
    num_devices: int
    attention: str
    query: StepQuery
    time: StepTime
    dollars_per_hour: float | None

    @property
    def memory(self) -> MemoryNeed:
        """What one device must hold."""
        return step_memory_of(self.query)

    @property
    def usable_bytes(self) -> int:
        """What one device has for it."""
        return int(USABLE_FRACTION * self.device.memory_bytes)

    @property
    def fits(self) -> bool:
        """Whether it does."""
        return self.memory.num_bytes <= self.usable_bytes

    @property
    def largest_batch(self) -> int:
        """Requests of this context that fit at most; 0 if the weights alone do not."""
        per_request = step_memory_of(replace(self.query, batch=2)).num_bytes
        per_request -= step_memory_of(replace(self.query, batch=1)).num_bytes
        free = self.usable_bytes - (step_memory_of(replace(self.query, batch=1)).num_bytes - per_request)
        return max(0, free // per_request)

    @property
    def tokens_per_s(self) -> float:
        """Of the whole batch."""
        return self.query.batch / self.time.seconds

    @property
    def dollars_per_million_tokens(self) -> float | None:
        """What a million generated tokens cost while all devices are kept busy by this step."""
        if self.dollars_per_hour is None:
            return None
        return _MILLION * self.num_devices * self.dollars_per_hour / _SECONDS_AN_HOUR / self.tokens_per_s

    def dollars_per_right_answer(self, *, tokens_per_answer: float, accuracy: float) -> float | None:
        """What one right answer costs where a share of all answers is right."""
        price = self.dollars_per_million_tokens
        return None if price is None else price * tokens_per_answer / _MILLION / accuracy

    def remedy(self) -> str:
        """What would fit instead: fewer requests, or more devices."""
        if self.largest_batch:
            return f"batch {self.largest_batch} fits"
        for count in _DEVICE_COUNTS:
            if count > self.num_devices and _can_share(self.query, count):
                more = replace(self, num_devices=count, query=replace(self.query, num_devices=count))
                if more.largest_batch:
                    asked = self.query.batch <= more.largest_batch
                    return f"--tp {count} fits" + ("" if asked else f" batch {more.largest_batch}")
        return "weights of fewer bytes (--weights fp8) or a larger device might"


def sweep_rows(sweep: Sweep) -> Iterator[SweepRow]:
    """Every combination, devices first, in the order given.

    Raises: ValueError for a number of devices that does not divide the model, or a policy that does not suit it.
    """
    for device in sweep.devices:
        for num_devices in sweep.device_counts:
            for label, policy in sweep.policies.items():
                for context_len in sweep.context_lens:
                    for batch in sweep.batches:
                        query = StepQuery(
                            architecture=sweep.architecture, batch=batch, context_len=context_len,
                            num_devices=num_devices, policy=policy, cache=sweep.cache, weights=sweep.weights,
                        )  # fmt: skip
                        yield SweepRow(
                            device=device, num_devices=num_devices, attention=label, query=query,
                            time=step_time(query, device, sweep.framework),
                            dollars_per_hour=sweep.dollars_per_hour.get(device.name),
                        )  # fmt: skip


def step_memory_of(query: StepQuery) -> MemoryNeed:
    """What one device holds: weights, caches of the whole batch, summaries of a policy, logits and buffers."""
    architecture, devices = query.architecture, query.num_devices
    cache = query.batch * _cache_bytes(query)
    widest = max(matmul.num_outputs for _, matmul in architecture.dense_matmuls(devices))
    return MemoryNeed(
        parts={
            "weights": architecture.weight_bytes(devices, query.weights),
            "cache": cache,
            "summaries": _summary_bytes(query, cache),
            "buffers": query.batch * (_LOGIT_BYTES * architecture.vocab_size + _BUFFERS * 2 * widest),
        }
    )


def own_policies(architecture: Architecture) -> dict[str, AttentionPolicy | None]:
    """The model's own attention, and dense beside it where its own is sparse."""
    kinds = set(architecture.num_mixers)
    if kinds & {"dsa", "msa"}:
        return {"own": None, "dense": Dense()}
    return {"own": None}


def _cache_bytes(query: StepQuery) -> int:
    """Of one request on one device. Dense attention keeps no index; a sparse policy keeps every key all the same."""
    asked = query.policy if isinstance(query.policy, Dense) else None
    mixers = query.architecture.mixers()
    kept = ((count, apply_policy(mixer, asked)) for count, mixer in mixers)
    return sum(c * mixer.cache_bytes(query.context_len, query.cache, query.num_devices) for c, mixer in kept)


def _summary_bytes(query: StepQuery, cache_bytes: int) -> int:
    """One vector a block of each KV head, half as many elements as its keys and values are a token."""
    if not isinstance(query.policy, BlockTopK):
        return 0
    return cache_bytes * query.policy.summary.num_vectors // (2 * query.policy.block_size)


def _can_share(query: StepQuery, num_devices: int) -> bool:
    try:
        step_memory_of(replace(query, num_devices=num_devices))
    except ValueError:
        return False
    return True
