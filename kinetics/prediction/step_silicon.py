"""A whole decode step on a named device, composed of its operations: where each millisecond goes, how sure that is.

The parts follow each other. Attention modules whose tables include their projections are one part; everything else is
attention, matrix products, experts, states, sums over devices and small kernels. Within a part errors go together;
between parts they are taken as independent: the band is the root of the sum of squares.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import hypot
from typing import Final

from kinetics.prediction.silicon import ROOF, Timing, time_cases
from kinetics.prediction.silicon_cases import (
    THIN_ROWS,
    Cases,
    all_reduce_cases,
    attention_cases,
    block_sparse_cases,
    experts_cases,
    latent_cases,
    matmul_cases,
    state_cases,
)
from kinetics.specs.architectures import Architecture
from kinetics.specs.attention_layers import BlockSparseAttention, GroupedQueryAttention
from kinetics.specs.cache_formats import CacheFormat, find_cache_format
from kinetics.specs.hardware import Accelerator
from kinetics.specs.latent_layers import LatentAttention
from kinetics.specs.layers import CONVOLUTION_BYTES, STATE_BYTES, Matmul, Mixer
from kinetics.specs.mlps import Experts
from kinetics.specs.policies import AttentionPolicy, BlockTopK, Dense, Local, TopK
from kinetics.specs.recurrent_layers import GatedDeltaNet, KimiDeltaAttention, Mamba2
from kinetics.specs.weight_formats import WeightFormats

SMALL_KERNEL_S: Final = 2e-6
"""A kernel of little work in a CUDA graph: the shortest in the tables, convolutions of one token, take 1.8-3.5 us."""
_SMALL_KERNELS_OF_MIXER: Final = 3
"""Norm with residual; rotary with q/k norm; append to the cache."""
_SMALL_KERNELS_OF_MODULE: Final = 1
"""Norm with residual; the module's tables hold the rest."""
_SMALL_KERNELS_OF_MLP: Final = 2
"""Norm with residual; activation."""
_SMALL_KERNELS_OF_STEP: Final = 3
"""Embedding, final norm, choice of a token."""
_SMALL_ERROR: Final = 0.5
_ACTIVATION_BYTES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class StepQuery:
    """One decode step. `policy` None is the model's own attention; `weights` None is what the config keeps them in.

    `context_len`: keys in the cache of each request, the new one included. `num_devices` share the model by tensor
    parallelism.

    Raises: ValueError for a size below 1.
    """

    architecture: Architecture
    batch: int
    context_len: int
    num_devices: int = 1
    policy: AttentionPolicy | None = None
    cache: CacheFormat = field(default_factory=lambda: find_cache_format("bf16"))
    weights: WeightFormats | None = None
    routing: str = "skewed"

    def __post_init__(self) -> None:
        for name in ("batch", "context_len", "num_devices"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def formats(self) -> WeightFormats:
        """What weights are kept in."""
        return self.weights or self.architecture.weights


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPart:
    """All kernels of one kind in a step: how many, what one takes, and where that comes from."""

    name: str
    count: int
    timing: Timing

    @property
    def seconds(self) -> float:
        """Of all of them."""
        return self.count * self.timing.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """Predicted time of a step, its parts, and the band that its parts' held-out errors make."""

    parts: tuple[StepPart, ...]

    @property
    def seconds(self) -> float:
        """One step of the whole batch."""
        return sum(part.seconds for part in self.parts)

    @property
    def low_s(self) -> float:
        """The lower end of the band; a roof's part is not lowered."""
        return max(
            0.0, self.seconds - hypot(*(p.seconds * p.timing.error for p in self.parts if not p.timing.is_roof), 0)
        )

    @property
    def high_s(self) -> float:
        """The upper end of the band."""
        return self.seconds + hypot(*(part.seconds * part.timing.error for part in self.parts), 0)

    @property
    def is_extrapolated(self) -> bool:
        """Whether a part that matters (a twentieth of the step) leaves the range that was measured."""
        return any(part.timing.outside and part.seconds > 0.05 * self.seconds for part in self.parts)

    @property
    def fitted_fraction(self) -> float:
        """The share of the time that fits stand behind; the rest is data sheet and small kernels."""
        return sum(part.seconds for part in self.parts if part.timing.source.startswith("fit")) / self.seconds


def step_time(query: StepQuery, device: Accelerator, framework: str) -> StepTime:
    """The time of a step on a device, by what others measured there with a framework's kernels.

    Raises: ValueError if the devices do not divide heads or widths, a policy does not fit the model's layers, or the
    framework is unknown.
    """
    parts = [
        StepPart(name=name, count=count, timing=time_cases(cases, device, framework))
        for name, count, cases in step_operations(query)
    ]
    small = Timing(seconds=SMALL_KERNEL_S, error=_SMALL_ERROR, source="small kernels", kernel="")
    parts.append(StepPart(name="small kernels", count=_num_small_kernels(query.architecture), timing=small))
    return StepTime(parts=tuple(_merged(parts)))


def is_roof_only(found: StepTime) -> bool:
    """Whether no part of a step was measured on the device."""
    return all(part.timing.source in (ROOF, "small kernels") for part in found.parts)


def _merged(parts: list[StepPart]) -> Iterator[StepPart]:
    """Parts of one name and time as one."""
    counts: dict[tuple[str, Timing], int] = {}
    for part in parts:
        counts[part.name, part.timing] = counts.get((part.name, part.timing), 0) + part.count
    yield from (StepPart(name=name, count=count, timing=timing) for (name, timing), count in counts.items())


def step_operations(query: StepQuery) -> Iterator[tuple[str, int, Cases]]:
    """(name, how many, cases) of every operation of the step on one device."""
    architecture, devices = query.architecture, query.num_devices
    for count, mixer in architecture.mixers():
        for name, cases in _mixer_operations(apply_policy(mixer, query.policy), query):
            yield name, count, cases
    for count, mlp in architecture.mlps():
        for matmul in mlp.matmuls(architecture.hidden_size, devices):
            yield f"mlp {matmul.name}" if not isinstance(mlp, Experts) else matmul.name, count, _product(matmul, query)
        if isinstance(mlp, Experts):
            yield "experts", count, _routed(mlp, query)
    yield "head", 1, _product(architecture.head(devices), query)
    if devices > 1:
        num_sums = sum(count for count, _ in architecture.mixers())
        num_sums += sum(run.count for run in architecture.runs if run.layer.mlps)
        size = query.batch * architecture.hidden_size * _ACTIVATION_BYTES
        yield "all-reduce", num_sums, all_reduce_cases(message_bytes=[size], devices=[devices])


def apply_policy(mixer: Mixer, policy: AttentionPolicy | None) -> Mixer:
    """The mixer as a policy makes it attend; recurrent layers and windows stay what they are.

    Dense takes the index from latent and block-sparse attention; sparse policies are for full grouped-query attention.
    Top-k attends as few keys as local attention does: its search is free, a lower bound.

    Raises: ValueError for a sparse policy over latent attention.
    """
    if policy is None:
        return mixer
    if isinstance(policy, Dense):
        if isinstance(mixer, LatentAttention):
            return replace(mixer, indexer=None)
        return mixer.attention if isinstance(mixer, BlockSparseAttention) else mixer
    if isinstance(mixer, LatentAttention):
        raise ValueError(
            "a sparse policy must be for grouped-query attention, got latent attention; leave the policy out for the "
            "model's own, or ask for dense"
        )
    attention = mixer.attention if isinstance(mixer, BlockSparseAttention) else mixer
    if not isinstance(attention, GroupedQueryAttention) or attention.window is not None:
        return mixer
    if isinstance(policy, Local | TopK):
        return replace(attention, window=policy.kv_budget + policy.num_sink_tokens)
    return _block_top_k(attention, policy)


def _block_top_k(attention: GroupedQueryAttention, policy: BlockTopK) -> BlockSparseAttention:
    """Block top-k as block-sparse attention: an index key a token stands for a summary a block and KV head.

    The published kernels score with an index head of their own; the summaries of a block are as many elements as
    `index_dim` a token, rounded up.
    """
    summary = policy.summary.num_vectors * attention.num_kv_heads * attention.head_dim
    kept = policy.kv_budget + policy.num_sink_tokens
    return BlockSparseAttention(
        attention=attention,
        block_size=policy.block_size,
        top_blocks=-(-kept // policy.block_size),
        num_index_heads=1,
        index_dim=max(1, -(-summary // policy.block_size)),
    )


def _mixer_operations(mixer: Mixer, query: StepQuery) -> Iterator[tuple[str, Cases]]:
    hidden, devices = query.architecture.hidden_size, query.num_devices
    asked = {"batch": [query.batch], "context_len": [query.context_len]}
    match mixer:
        case GroupedQueryAttention():
            q_heads, kv_heads = mixer.heads_per_device(devices)
            local = replace(mixer, num_q_heads=q_heads, num_kv_heads=kv_heads)
            yield f"attention ({mixer.kind})", attention_cases(local, query.cache, **asked)
        case LatentAttention():
            latent = replace(mixer, num_heads=mixer.heads_per_device(devices))
            weights = query.formats.dense
            yield f"{mixer.kind} module", latent_cases(latent, query.cache, weights, hidden_size=hidden, **asked)
            return
        case BlockSparseAttention():
            yield f"{mixer.kind} module", _block_sparse(mixer, query)
            return
        case _:
            yield from _state_operations(mixer, query)
    yield from ((f"{mixer.kind} {matmul.name}", _product(matmul, query)) for matmul in mixer.matmuls(hidden, devices))


def _block_sparse(mixer: BlockSparseAttention, query: StepQuery) -> Cases:
    q_heads, kv_heads = mixer.attention.heads_per_device(query.num_devices)
    attention = replace(mixer.attention, num_q_heads=q_heads, num_kv_heads=kv_heads)
    local = replace(mixer, attention=attention, num_index_heads=min(mixer.num_index_heads, kv_heads))
    return block_sparse_cases(
        local, query.cache, query.formats.dense, hidden_size=query.architecture.hidden_size,
        batch=[query.batch], context_len=[query.context_len],
    )  # fmt: skip


def _state_operations(mixer: Mixer, query: StepQuery) -> Iterator[tuple[str, Cases]]:
    """The short convolution and the recurrence of a layer of constant state; both read and write their state."""
    devices = query.num_devices
    match mixer:
        case GatedDeltaNet():
            heads = mixer.heads_per_device(devices)[1]
            channels = mixer.num_channels(devices)
            state = heads * mixer.key_dim * mixer.value_dim
        case KimiDeltaAttention():
            heads = mixer.heads_per_device(devices)
            channels, state = 3 * heads * mixer.head_dim, heads * mixer.head_dim**2
        case Mamba2():
            heads = mixer.heads_per_device(devices)[0]
            channels, state = mixer.num_channels(devices), heads * mixer.head_dim * mixer.state_size
        case _:
            raise ValueError(f"a layer must be of a kind that can be priced, got {mixer.kind}")
    parts = {
        "convolution": 2 * channels * (mixer.convolution_width - 1) * CONVOLUTION_BYTES,
        "recurrence": 2 * state * STATE_BYTES,
    }
    for part, num_bytes in parts.items():
        yield (
            f"{mixer.kind} {part}",
            state_cases(mixer.kind, part, batch=[query.batch], heads=heads, state_bytes=num_bytes),
        )


def _product(matmul: Matmul, query: StepQuery) -> Cases:
    """One matrix product of every request; matrices alike are one product of as many outputs."""
    return matmul_cases(
        query.formats.of(matmul.name), rows=[query.batch], inputs=[matmul.num_inputs],
        outputs=[matmul.num_outputs * matmul.num_matrices], is_thin=query.batch <= THIN_ROWS,
    )  # fmt: skip


def _routed(experts: Experts, query: StepQuery) -> Cases:
    _, down = experts.expert_matmuls(query.architecture.hidden_size, query.num_devices)
    return experts_cases(
        query.formats.experts, rows=[query.batch], hidden=down.num_outputs, width=down.num_inputs,
        experts=experts.num_experts, experts_per_token=experts.experts_per_token, is_gated=experts.is_gated,
        routing=query.routing,
    )  # fmt: skip


def _num_small_kernels(architecture: Architecture) -> int:
    count = _SMALL_KERNELS_OF_STEP
    for run in architecture.runs:
        is_module = isinstance(run.layer.mixer, LatentAttention | BlockSparseAttention)
        of_mixer = _SMALL_KERNELS_OF_MODULE if is_module else _SMALL_KERNELS_OF_MIXER
        count += run.count * (of_mixer if run.layer.mixer else 0)
        count += run.count * sum(_SMALL_KERNELS_OF_MLP + isinstance(mlp, Experts) for mlp in run.layer.mlps)
    return count
