"""torch's FlexAttention, compiled: uncompiled it would materialise every score and prove nothing.

It gets a contiguous cache and one context length for free.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from kinetics_kernels.peer_kinds.gpu_peer import ContiguousGpuPeer
from kinetics_kernels.providers import ProviderCase
from kinetics_kernels.unavailable import Unavailable


class FlexAttention(ContiguousGpuPeer):
    """The decode path of FlexAttention."""

    name = "flex_attention"
    distribution = "torch"
    install_hint = "pip install torch, and a C compiler for torch.compile"

    def __init__(self) -> None:
        self._shape: tuple[torch.Size, torch.Size] | None = None
        self._compiled: Callable[..., torch.Tensor] | None = None

    def version(self) -> str:
        """Version of torch; always the compiled kernel."""
        return f"{super().version()} (compiled)"

    def unavailable_for_shape(self, case: ProviderCase) -> Unavailable | None:
        """Its decode kernel packs groups of a power of two."""
        group_size = case.shape.group_size
        if group_size.bit_count() == 1:
            return None
        return Unavailable(f"group_size must be a power of two, got {group_size}")

    def bind(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Callable[[], torch.Tensor]:
        """Bind the call that is compiled for this shape."""
        compiled = self._compiled_for(q.shape, k.shape)
        query = q[:, :, None]
        return lambda: compiled(query, k, v, enable_gqa=True)[:, :, 0]

    def _compiled_for(self, q_shape: torch.Size, k_shape: torch.Size) -> Callable[..., torch.Tensor]:
        """Compiled anew for every shape, with what was compiled before forgotten.

        At the ninth shape of one function torch would give up compiling, in silence; a whole graph or none.
        """
        from torch.nn.attention.flex_attention import flex_attention

        if self._compiled is None or self._shape != (q_shape, k_shape):
            torch._dynamo.reset()
            self._compiled = torch.compile(flex_attention, dynamic=False, fullgraph=True)
            self._shape = q_shape, k_shape
        return self._compiled


PROVIDER = FlexAttention()
