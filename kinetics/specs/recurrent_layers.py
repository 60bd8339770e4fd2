"""Mixers of constant state: gated delta net, Kimi delta attention and Mamba-2. What a step reads knows no context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kinetics.specs.cache_formats import CacheFormat
from kinetics.specs.layers import CONVOLUTION_BYTES, STATE_BYTES, Matmul, check_positive, split_evenly


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedDeltaNet:
    """A gated delta net: per value head a state of key_dim x value_dim, behind a short convolution over q, k and v."""

    num_key_heads: int
    num_value_heads: int
    key_dim: int
    value_dim: int
    convolution_width: int

    kind: ClassVar[str] = "gated_delta_net"

    def __post_init__(self) -> None:
        check_positive(
            num_key_heads=self.num_key_heads,
            num_value_heads=self.num_value_heads,
            key_dim=self.key_dim,
            value_dim=self.value_dim,
            convolution_width=self.convolution_width,
        )

    def heads_per_device(self, num_devices: int) -> tuple[int, int]:
        """(key heads, value heads) of one device."""
        return (
            split_evenly(self.num_key_heads, num_devices, "key heads"),
            split_evenly(self.num_value_heads, num_devices, "value heads"),
        )

    def num_channels(self, num_devices: int = 1) -> int:
        """Channels of the convolution: queries, keys and values."""
        key_heads, value_heads = self.heads_per_device(num_devices)
        return 2 * key_heads * self.key_dim + value_heads * self.value_dim

    def state_bytes(self, num_devices: int = 1) -> int:
        """State and last inputs of the convolution of one request."""
        _, value_heads = self.heads_per_device(num_devices)
        recurrent = value_heads * self.key_dim * self.value_dim * STATE_BYTES
        return recurrent + self.num_channels(num_devices) * (self.convolution_width - 1) * CONVOLUTION_BYTES

    def matmuls(self, hidden_size: int, num_devices: int = 1) -> tuple[Matmul, ...]:
        """Fused projection of q, k, v, output gate, decay and step size; output."""
        _, value_heads = self.heads_per_device(num_devices)
        num_values = value_heads * self.value_dim
        num_outputs = self.num_channels(num_devices) + num_values + 2 * value_heads
        return (
            Matmul(name="qkv", num_inputs=hidden_size, num_outputs=num_outputs),
            Matmul(name="output", num_inputs=num_values, num_outputs=hidden_size),
        )

    def num_vector_parameters(self, hidden_size: int) -> int:
        """Convolution, decays, norm of the output."""
        return self.num_channels() * self.convolution_width + 2 * self.num_value_heads + self.value_dim

    def cache_bytes(self, context_len: int, cache: CacheFormat, num_devices: int = 1) -> int:
        """The state, whatever the context."""
        return self.state_bytes(num_devices)


@dataclass(frozen=True, slots=True, kw_only=True)
class KimiDeltaAttention:
    """Kimi delta attention (KDA): a gated delta net with a decay per channel, made by a narrow pair of projections."""

    num_heads: int
    head_dim: int
    convolution_width: int
    has_full_rank_gate: bool = False

    kind: ClassVar[str] = "kda"

    def __post_init__(self) -> None:
        check_positive(num_heads=self.num_heads, head_dim=self.head_dim, convolution_width=self.convolution_width)

    def heads_per_device(self, num_devices: int) -> int:
        """Heads of one device."""
        return split_evenly(self.num_heads, num_devices, "heads")

    def state_bytes(self, num_devices: int = 1) -> int:
        """State and last inputs of the convolution of one request."""
        heads = self.heads_per_device(num_devices)
        convolution = 3 * heads * self.head_dim * (self.convolution_width - 1) * CONVOLUTION_BYTES
        return heads * self.head_dim**2 * STATE_BYTES + convolution

    def matmuls(self, hidden_size: int, num_devices: int = 1) -> tuple[Matmul, ...]:
        """q, k, v and step size; the decay's narrow pair and the output gate's, or the gate whole; output."""
        heads, rank = self.heads_per_device(num_devices), self.head_dim
        width = heads * self.head_dim
        num_pairs = 1 if self.has_full_rank_gate else 2
        gate = width if self.has_full_rank_gate else 0
        return (
            Matmul(name="qkv", num_inputs=hidden_size, num_outputs=3 * width + heads + gate),
            Matmul(name="gate_down", num_inputs=hidden_size, num_outputs=num_pairs * rank),
            Matmul(name="gate_up", num_inputs=rank, num_outputs=width, num_matrices=num_pairs),
            Matmul(name="output", num_inputs=width, num_outputs=hidden_size),
        )

    def num_vector_parameters(self, hidden_size: int) -> int:
        """Convolution, decays, norm of the output."""
        width = self.num_heads * self.head_dim
        return 3 * width * self.convolution_width + width + self.num_heads + self.head_dim

    def cache_bytes(self, context_len: int, cache: CacheFormat, num_devices: int = 1) -> int:
        """The state, whatever the context."""
        return self.state_bytes(num_devices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mamba2:
    """A Mamba-2 mixer: per head a state of head_dim x state_size, behind a convolution over x, B and C."""

    num_heads: int
    head_dim: int
    state_size: int
    num_groups: int
    convolution_width: int
    has_convolution_bias: bool = True

    kind: ClassVar[str] = "mamba2"

    def __post_init__(self) -> None:
        check_positive(
            num_heads=self.num_heads,
            head_dim=self.head_dim,
            state_size=self.state_size,
            num_groups=self.num_groups,
            convolution_width=self.convolution_width,
        )

    def heads_per_device(self, num_devices: int) -> tuple[int, int]:
        """(heads, groups) of one device; more devices than groups keep copies."""
        heads = split_evenly(self.num_heads, num_devices, "heads")
        return heads, max(1, self.num_groups // num_devices)

    def num_channels(self, num_devices: int = 1) -> int:
        """Channels of the convolution: x, B and C."""
        heads, groups = self.heads_per_device(num_devices)
        return heads * self.head_dim + 2 * groups * self.state_size

    def state_bytes(self, num_devices: int = 1) -> int:
        """State and last inputs of the convolution of one request."""
        heads, _ = self.heads_per_device(num_devices)
        convolution = self.num_channels(num_devices) * (self.convolution_width - 1) * CONVOLUTION_BYTES
        return heads * self.head_dim * self.state_size * STATE_BYTES + convolution

    def matmuls(self, hidden_size: int, num_devices: int = 1) -> tuple[Matmul, ...]:
        """Fused projection of gate, x, B, C and step size; output."""
        heads, _ = self.heads_per_device(num_devices)
        width = heads * self.head_dim
        num_outputs = width + self.num_channels(num_devices) + heads
        return (
            Matmul(name="input", num_inputs=hidden_size, num_outputs=num_outputs),
            Matmul(name="output", num_inputs=width, num_outputs=hidden_size),
        )

    def num_vector_parameters(self, hidden_size: int) -> int:
        """Convolution, decay, skip and step size of each head, norm of the output."""
        convolution = self.num_channels() * (self.convolution_width + int(self.has_convolution_bias))
        return convolution + 3 * self.num_heads + self.num_heads * self.head_dim

    def cache_bytes(self, context_len: int, cache: CacheFormat, num_devices: int = 1) -> int:
        """The state, whatever the context."""
        return self.state_bytes(num_devices)
