"""The kinds of layers that decoders are made of: their weight matrices on one device, their cache and their state.

A layer is a mixer (how tokens reach each other) and one MLP or more (what each token does alone). Everything is counted
per layer, for one of `num_devices` that share it by tensor parallelism: heads and widths are split evenly, a cache that
all heads share is kept by each. The file knows shapes; it knows no device, no time and no config.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from kinetics.specs.cache_formats import CacheFormat

STATE_BYTES = 4
"""Recurrent states are kept in fp32, whatever the cache holds."""
CONVOLUTION_BYTES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Matmul:
    """One weight matrix, or `num_matrices` alike, as one device holds it. `name` says what it makes."""

    name: str
    num_inputs: int
    num_outputs: int
    num_matrices: int = 1

    @property
    def num_weights(self) -> int:
        """Elements of all its matrices."""
        return self.num_inputs * self.num_outputs * self.num_matrices


class Mixer(Protocol):
    """How the tokens of a layer reach each other. A window or a state bounds what a request keeps; a cache grows."""

    @property
    def kind(self) -> str:
        """The word for it in tables: `gqa`, `mla`, `gated_delta_net`, ..."""

    def matmuls(self, hidden_size: int, num_devices: int = 1) -> tuple[Matmul, ...]:
        """Weight matrices of one device.

        Raises: ValueError if the devices do not divide the heads.
        """

    def num_vector_parameters(self, hidden_size: int) -> int:
        """Parameters outside matrices: biases, norms, sinks, convolutions."""

    def cache_bytes(self, context_len: int, cache: CacheFormat, num_devices: int = 1) -> int:
        """Bytes that one request of `context_len` tokens keeps on one device, its state included."""


def split_evenly(count: int, num_devices: int, what: str) -> int:
    """Of `count` heads or columns, those of one device.

    Raises: ValueError if the devices do not divide them.
    """
    if count % num_devices:
        raise ValueError(f"the number of devices must divide {count} {what}, got {num_devices}")
    return count // num_devices


def check_positive(**sizes: int) -> None:
    """Raise ValueError naming the first size below 1."""
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
