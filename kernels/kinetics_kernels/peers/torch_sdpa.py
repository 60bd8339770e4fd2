"""torch's scaled_dot_product_attention over a contiguous cache, which it gets for free: it knows no pages.

The query group is packed into the query rows, so that each KV head is read once for its whole group; expanding the
KV heads instead would read them group_size times.
"""

from __future__ import annotations

from functools import partial

import torch
from torch.nn.functional import scaled_dot_product_attention

from kinetics_kernels.peer_kinds.contiguous import contiguous_bytes, contiguous_cache, copy_contiguous
from kinetics_kernels.providers import DENSE, DecodeRequest, PreparedDecode, ProviderCase
from kinetics_kernels.unavailable import Unavailable


class TorchSdpa:
    """Dense decode by torch, whatever backend it resolves to."""

    name = "torch_sdpa"
    distribution = "torch"
    operations = (DENSE,)
    reads_contiguous_copy = True

    def version(self) -> str:
        """Version of torch."""
        return str(torch.__version__)

    def unavailable_on(self, device_type: str) -> Unavailable | None:  # noqa: ARG002 - torch runs wherever the suite does
        """Always None."""
        return None

    def unavailable_for(self, case: ProviderCase) -> Unavailable | None:  # noqa: ARG002 - idem
        """Every shape, one context length for the whole batch."""
        return None

    def prepared_bytes(self, case: ProviderCase) -> int:
        """A contiguous copy of the cache."""
        return contiguous_bytes(case)

    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """Copy the pages into [batch, num_kv_heads, context_len, head_dim] and pack the query group.

        Raises: ValueError if the contexts differ: a mask would slow torch down and make the comparison unfair.
        """
        inputs, shape = request.inputs, request.inputs.shape
        q = inputs.q.reshape(shape.batch, shape.num_kv_heads, shape.group_size, shape.head_dim)
        k, v = contiguous_cache(inputs, reader=self.name)

        def run() -> torch.Tensor:
            return scaled_dot_product_attention(q, k, v).reshape(inputs.q.shape)

        return PreparedDecode(run=run, refresh=partial(copy_contiguous, inputs, k, v))


PROVIDER = TorchSdpa()
