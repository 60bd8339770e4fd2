"""What all peers that run on CUDA alone have in common: how their absence is noticed and explained.

Nothing here imports a peer: being installed is read from package metadata, being usable is tried in a child process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import torch

from kinetics_kernels.dtypes import HALF_DTYPES
from kinetics_kernels.peer_kinds.child_probe import try_in_child
from kinetics_kernels.peer_kinds.contiguous import contiguous_bytes, contiguous_cache, copy_contiguous
from kinetics_kernels.peer_kinds.installed import installed_version
from kinetics_kernels.providers import DENSE, DecodeRequest, PreparedDecode, ProviderCase
from kinetics_kernels.unavailable import Unavailable


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
        return f"{self.distribution} {installed_version(self.distribution) or 'absent'}"

    def unavailable_on(self, device_type: str) -> Unavailable | None:
        """Every obstacle at once, with the way to install what is missing; None if a first call succeeded."""
        obstacles = []
        if device_type != "cuda":
            obstacles.append(f"runs on cuda alone, not on {device_type}")
        if installed_version(self.distribution) is None:
            obstacles.append(f"{self.distribution} is not installed: {self.install_hint}")
        if not obstacles and not self.min_capability <= torch.cuda.get_device_capability() <= self.max_capability:
            low, high = (".".join(map(str, bound)) for bound in (self.min_capability, self.max_capability))
            obstacles.append(f"needs compute capability {low} to {high}")
        return Unavailable("; ".join(obstacles)) if obstacles else try_in_child(self.name, device_type)

    def unavailable_for(self, case: ProviderCase) -> Unavailable | None:
        """Refuses other than half precision, and what `unavailable_for_shape` refuses."""
        if case.dtype not in HALF_DTYPES:
            return Unavailable(f"dtype must be one of {', '.join(HALF_DTYPES)}, got {case.dtype}")
        return self.unavailable_for_shape(case)

    def unavailable_for_shape(self, case: ProviderCase) -> Unavailable | None:  # noqa: ARG002 - for those who refuse some
        """Why a shape cannot be run; None if it can."""
        return None

    def prepared_bytes(self, case: ProviderCase) -> int:  # noqa: ARG002 - the protocol asks
        """Nothing: a paged cache is read where it lies."""
        return 0

    @abstractmethod
    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """Everything that must not be timed, done once per set of inputs."""


class ContiguousGpuPeer(GpuPeer):
    """A peer that knows no pages: it gets a contiguous cache and one context length for free."""

    reads_contiguous_copy = True

    def prepared_bytes(self, case: ProviderCase) -> int:
        """A contiguous copy of the cache."""
        return contiguous_bytes(case)

    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """Copy the pages into [batch, num_kv_heads, context_len, head_dim].

        Raises: ValueError if the contexts differ: a mask would slow the peer down and make the comparison unfair.
        """
        inputs = request.inputs
        k, v = contiguous_cache(inputs, reader=self.name)
        return PreparedDecode(run=self.bind(inputs.q, k, v), refresh=partial(copy_contiguous, inputs, k, v))

    @abstractmethod
    def bind(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Callable[[], torch.Tensor]:
        """A call that attends with q [batch, num_q_heads, head_dim] to k and v of `prepare`."""
