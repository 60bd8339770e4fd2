"""What all peers that run on CUDA alone have in common: how their absence is noticed and explained.

Nothing here imports a peer: being installed is read from package metadata, being usable is tried in a child process.
"""

from __future__ import annotations

import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch

from kinetics_kernels.peers.child_probe import refusal_of
from kinetics_kernels.peers.torch_sdpa import contiguous_cache
from kinetics_kernels.providers import DENSE, DecodeRequest, PreparedDecode, ProviderCase

DTYPES = ("bfloat16", "float16")


class GpuPeer(ABC):
    """Dense decode by code of others, on CUDA."""

    name: str
    distribution: str
    """The package whose metadata tells whether it is installed, and which version."""
    install_hint: str
    operations: tuple[str, ...] = (DENSE,)
    min_capability = (8, 0)
    max_capability = (99, 0)

    def version(self) -> str:
        """Version of the package, and of the backend it resolved to where it chooses one."""
        return f"{self.distribution} {_installed_version(self.distribution) or 'absent'}"

    def unavailable_reason(self, device_type: str) -> str | None:
        """Every obstacle at once, with the way to install what is missing; None if a first call succeeded."""
        obstacles = []
        if device_type != "cuda":
            obstacles.append(f"runs on cuda alone, not on {device_type}")
        if _installed_version(self.distribution) is None:
            obstacles.append(f"{self.distribution} is not installed: {self.install_hint}")
        if not obstacles and not self.min_capability <= torch.cuda.get_device_capability() <= self.max_capability:
            low, high = (".".join(map(str, bound)) for bound in (self.min_capability, self.max_capability))
            obstacles.append(f"needs compute capability {low} to {high}")
        return "; ".join(obstacles) if obstacles else refusal_of(self.name)

    def supports(self, case: ProviderCase) -> tuple[bool, str]:
        """Half-precision shapes that `shape_refusal` does not refuse."""
        if case.dtype not in DTYPES:
            return False, f"dtype must be one of {', '.join(DTYPES)}"
        refusal = self.shape_refusal(case)
        return refusal is None, refusal or ""

    def shape_refusal(self, case: ProviderCase) -> str | None:  # noqa: ARG002 - for those who refuse some
        """Why a shape cannot be run; None if it can."""
        return None

    def prepared_bytes(self, case: ProviderCase, element_bytes: int) -> int:  # noqa: ARG002 - the protocol asks
        """Nothing: a paged cache is read where it lies."""
        return 0

    @abstractmethod
    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """Everything that must not be timed, done once per set of inputs."""


class ContiguousGpuPeer(GpuPeer):
    """A peer that knows no pages: it gets a contiguous cache and one context length for free."""

    def prepared_bytes(self, case: ProviderCase, element_bytes: int) -> int:
        """A contiguous copy of the cache."""
        shape = case.shape
        return 2 * shape.batch * shape.context_len * shape.num_kv_heads * shape.head_dim * element_bytes

    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """Copy the pages into [batch, num_kv_heads, context_len, head_dim].

        Raises: ValueError if the contexts differ: a mask would slow the peer down and make the comparison unfair.
        """
        inputs = request.inputs
        if len(set(inputs.seq_lens.tolist())) != 1:
            raise ValueError(f"seq_lens must be equal for {self.name}, got ragged ones; give every request one context")
        k, v = contiguous_cache(inputs.k_cache, inputs), contiguous_cache(inputs.v_cache, inputs)
        return PreparedDecode(run=self.bind(inputs.q, k, v))

    @abstractmethod
    def bind(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Callable[[], torch.Tensor]:
        """A call that attends with q [batch, num_q_heads, head_dim] to k and v of `prepare`."""


def _installed_version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
