"""A decoder as a list of layers of known kinds, and the counts that follow: parameters, weights read, cache bytes.

What a config.json describes and is not counted (vision towers, heads that predict several tokens) is named in
`left_out`. Element counts are exact; bytes follow from a `WeightFormat` and a `CacheFormat`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from kinetics.specs.cache_formats import CacheFormat
from kinetics.specs.layers import Matmul, Mixer
from kinetics.specs.mlps import Experts, Mlp
from kinetics.specs.weight_formats import BF16, WeightFormats


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer: a mixer or none, MLPs side by side or none, and the parameters of its norms."""

    mixer: Mixer | None
    mlps: tuple[Mlp, ...]
    num_norm_parameters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRun:
    """`count` layers alike, wherever they stand."""

    count: int
    layer: Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A decoder-only model: embedding, layers, head. `runs` holds each kind of layer once, in order of appearance.

    `weights` is what the config says they are kept in; `left_out` and `ignored_fields` say what the counts leave out.
    """

    name: str
    hidden_size: int
    vocab_size: int
    ties_embeddings: bool
    runs: tuple[LayerRun, ...]
    weights: WeightFormats = field(default=WeightFormats(dense=BF16, experts=BF16))
    left_out: tuple[str, ...] = ()
    ignored_fields: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if min(self.hidden_size, self.vocab_size, *(run.count for run in self.runs)) < 1 or not self.runs:
            raise ValueError(f"{self.name} must have a hidden size, a vocabulary and a layer of at least 1 each")

    @property
    def slug(self) -> str:
        """The name as ids and file names spell it."""
        return re.sub(r"[^a-z0-9.]+", "_", self.name.rsplit("/", maxsplit=1)[-1].lower()).strip("_")

    @property
    def num_layers(self) -> int:
        """Layers of all kinds."""
        return sum(run.count for run in self.runs)

    @property
    def num_mixers(self) -> dict[str, int]:
        """Layers by kind of mixer, those without one left out."""
        found: dict[str, int] = {}
        for count, mixer in self.mixers():
            found[mixer.kind] = found.get(mixer.kind, 0) + count
        return found

    @property
    def num_parameters(self) -> int:
        """All distinct parameters; a tied output head counts once."""
        return self._count_parameters(active_only=False)

    @property
    def num_active_parameters(self) -> int:
        """Parameters that one token uses: all of them, except the experts it is not sent to."""
        return self._count_parameters(active_only=True)

    @property
    def matmul_parameters_per_token(self) -> int:
        """Weights that a decoded token multiplies with, output head included."""
        return round(self.num_weights_read(1))

    @property
    def num_embedding_parameters(self) -> int:
        """The input embedding table; the output head has as many."""
        return self.vocab_size * self.hidden_size

    def mixers(self) -> Iterator[tuple[int, Mixer]]:
        """(count, mixer) of every kind of layer that has one."""
        return ((run.count, run.layer.mixer) for run in self.runs if run.layer.mixer is not None)

    def mlps(self) -> Iterator[tuple[int, Mlp]]:
        """(count, MLP) of every kind of layer, each of several side by side."""
        return ((run.count, mlp) for run in self.runs for mlp in run.layer.mlps)

    def dense_matmuls(self, num_devices: int = 1) -> Iterator[tuple[int, Matmul]]:
        """(count, matrix on one device) of everything that every token multiplies with, output head included."""
        for run in self.runs:
            parts = (*((run.layer.mixer,) if run.layer.mixer else ()), *run.layer.mlps)
            for part in parts:
                yield from ((run.count, matmul) for matmul in part.matmuls(self.hidden_size, num_devices))
        yield 1, self.head(num_devices)

    def head(self, num_devices: int = 1) -> Matmul:
        """The output head; the vocabulary is padded to a multiple of the devices."""
        return Matmul(name="head", num_inputs=self.hidden_size, num_outputs=-(-self.vocab_size // num_devices))

    def num_weights_read(self, batch: int, num_devices: int = 1) -> float:
        """Weights that one decode step of `batch` tokens fetches at least once, on one device.

        Of routed experts the expected number of distinct ones under uniform routing.
        """
        dense = sum(count * matmul.num_weights for count, matmul in self.dense_matmuls(num_devices))
        return dense + self.num_expert_weights_read(batch, num_devices)

    def num_expert_weights_read(self, batch: int, num_devices: int = 1) -> float:
        """Of them, those of routed experts."""
        return sum(
            count * mlp.expected_experts(batch) * mlp.num_expert_weights(self.hidden_size, num_devices)
            for count, mlp in self.mlps()
            if isinstance(mlp, Experts)
        )

    def weight_bytes(self, num_devices: int = 1, weights: WeightFormats | None = None) -> int:
        """Bytes of all weights on one device, embedding table included; vectors are left out, a thousandth."""
        formats = weights or self.weights
        matmuls = self.dense_matmuls(num_devices)
        dense = sum(count * formats.bytes_of(matmul.name) * matmul.num_weights for count, matmul in matmuls)
        experts = sum(
            count * mlp.num_experts * mlp.num_expert_weights(self.hidden_size, num_devices)
            for count, mlp in self.mlps()
            if isinstance(mlp, Experts)
        )
        table = 0 if self.ties_embeddings else 2 * self.num_embedding_parameters // num_devices
        return round(dense + formats.experts.bytes_per_weight * experts) + table

    def cache_bytes(self, context_len: int, cache: CacheFormat, num_devices: int = 1) -> int:
        """Bytes that one request of `context_len` tokens keeps on one device: keys, values, latents and states."""
        return sum(count * mixer.cache_bytes(context_len, cache, num_devices) for count, mixer in self.mixers())

    def cache_bytes_per_token(self, cache: CacheFormat) -> int:
        """Bytes that one more token adds far beyond every window."""
        far = 2**40
        return self.cache_bytes(far + 1, cache) - self.cache_bytes(far, cache)

    def _count_parameters(self, *, active_only: bool) -> int:
        hidden = self.hidden_size
        total = hidden + sum(count * matmul.num_weights for count, matmul in self.dense_matmuls())
        total += sum(run.count * run.layer.num_norm_parameters for run in self.runs)
        total += sum(count * mixer.num_vector_parameters(hidden) for count, mixer in self.mixers())
        for count, mlp in self.mlps():
            total += count * mlp.num_vector_parameters(hidden)
            if isinstance(mlp, Experts):
                num_experts = mlp.experts_per_token if active_only else mlp.num_experts
                total += count * num_experts * (mlp.num_expert_weights(hidden) + mlp.num_expert_vectors(hidden))
        return total + (0 if self.ties_embeddings else self.num_embedding_parameters)
