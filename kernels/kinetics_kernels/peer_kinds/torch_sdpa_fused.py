"""torch's scaled_dot_product_attention held to one fused backend, over a contiguous cache.

The query group is packed into the query rows, so that each KV head is read once for its whole group.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from kinetics_kernels.peer_kinds.gpu_peer import ContiguousGpuPeer


class TorchSdpaFused(ContiguousGpuPeer):
    """One backend of torch's attention; what it cannot run raises instead of falling back."""

    distribution = "torch"
    install_hint = "pip install torch"

    def __init__(self, name: str, backend: SDPBackend) -> None:
        self.name = name
        self.backend = backend

    def version(self) -> str:
        """Version of torch, with the backend."""
        return f"{super().version()} ({self.backend.name.lower()})"

    def bind(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Callable[[], torch.Tensor]:
        """Bind the packed query."""
        batch, num_kv_heads, _, head_dim = k.shape
        packed = q.reshape(batch, num_kv_heads, -1, head_dim)

        def run() -> torch.Tensor:
            with sdpa_kernel(self.backend):
                return scaled_dot_product_attention(packed, k, v).reshape(q.shape)

        return run
