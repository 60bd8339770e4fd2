"""What a layer does to each token alone: dense MLPs, and experts of which a token visits a few."""

from __future__ import annotations

from dataclasses import dataclass

from kinetics.specs.layers import Matmul, check_positive, split_evenly


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseMlp:
    """Two matrices, or three where a gate multiplies the upper one. `has_bias`: on each of them."""

    width: int
    is_gated: bool = True
    has_bias: bool = False

    def __post_init__(self) -> None:
        check_positive(width=self.width)

    def matmuls(self, hidden_size: int, num_devices: int = 1) -> tuple[Matmul, ...]:
        """Up (fused with the gate) and down, on one device."""
        width = split_evenly(self.width, num_devices, "columns of the MLP")
        return (
            Matmul(name="up", num_inputs=hidden_size, num_outputs=self._num_uppers * width),
            Matmul(name="down", num_inputs=width, num_outputs=hidden_size),
        )

    def num_vector_parameters(self, hidden_size: int) -> int:
        """Biases."""
        return self._num_uppers * self.width + hidden_size if self.has_bias else 0

    @property
    def _num_uppers(self) -> int:
        return 2 if self.is_gated else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """`num_experts` MLPs of which a router sends each token to `experts_per_token`, and one shared by all tokens.

    `latent_size`: width that routed experts see between two projections; None is the hidden size.
    """

    num_experts: int
    experts_per_token: int
    width: int
    is_gated: bool = True
    has_bias: bool = False
    shared_width: int = 0
    has_shared_gate: bool = False
    latent_size: int | None = None
    num_router_vectors: int = 0

    def __post_init__(self) -> None:
        check_positive(num_experts=self.num_experts, experts_per_token=self.experts_per_token, width=self.width)
        if self.experts_per_token > self.num_experts:
            raise ValueError(
                f"experts_per_token must not exceed num_experts, got {self.experts_per_token} of {self.num_experts}"
            )

    def expected_experts(self, batch: int) -> float:
        """Distinct experts that a batch visits under uniform routing; real routers are skewed and visit fewer."""
        return self.num_experts * (1.0 - (1.0 - self.experts_per_token / self.num_experts) ** batch)

    def expert_matmuls(self, hidden_size: int, num_devices: int = 1) -> tuple[Matmul, ...]:
        """Of one routed expert, on one device."""
        expert = DenseMlp(width=self.width, is_gated=self.is_gated)
        return expert.matmuls(self.latent_size or hidden_size, num_devices)

    def matmuls(self, hidden_size: int, num_devices: int = 1) -> tuple[Matmul, ...]:
        """Everything but the routed experts: router, shared expert and its gate, latent projections."""
        found = [Matmul(name="router", num_inputs=hidden_size, num_outputs=self.num_experts)]
        if self.shared_width:
            shared = DenseMlp(width=self.shared_width, is_gated=self.is_gated)
            found += shared.matmuls(hidden_size, num_devices)
        if self.has_shared_gate:
            found.append(Matmul(name="shared_gate", num_inputs=hidden_size, num_outputs=1))
        if self.latent_size:
            found.append(Matmul(name="latent_down", num_inputs=hidden_size, num_outputs=self.latent_size))
            found.append(Matmul(name="latent_up", num_inputs=self.latent_size, num_outputs=hidden_size))
        return tuple(found)

    def num_expert_weights(self, hidden_size: int, num_devices: int = 1) -> int:
        """Matrix elements of one routed expert, on one device."""
        return sum(matmul.num_weights for matmul in self.expert_matmuls(hidden_size, num_devices))

    def num_expert_vectors(self, hidden_size: int) -> int:
        """Biases of one routed expert."""
        return DenseMlp(width=self.width, is_gated=self.is_gated, has_bias=self.has_bias).num_vector_parameters(
            self.latent_size or hidden_size
        )

    def num_vector_parameters(self, hidden_size: int) -> int:
        """Of the router, its biases included."""
        return self.num_router_vectors + (self.num_experts if self.has_bias else 0)


Mlp = DenseMlp | Experts
