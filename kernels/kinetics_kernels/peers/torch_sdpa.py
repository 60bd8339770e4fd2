"""torch's scaled_dot_product_attention over a contiguous cache, which it gets for free: it knows no pages.

The query group is packed into the query rows, so that each KV head is read once for its whole group; expanding the
KV heads instead would read them group_size times.
"""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention

from kinetics_kernels.providers import DENSE, DecodeRequest, PreparedDecode, ProviderCase
from kinetics_kernels.testing import DecodeInputs


class TorchSdpa:
    """Dense decode by torch, whatever backend it resolves to."""

    name = "torch_sdpa"
    operations = (DENSE,)

    def version(self) -> str:
        """Version of torch."""
        return str(torch.__version__)

    def unavailable_reason(self, device_type: str) -> str | None:  # noqa: ARG002 - torch runs wherever the suite does
        """Always None."""
        return None

    def supports(self, case: ProviderCase) -> tuple[bool, str]:  # noqa: ARG002 - idem
        """Every shape, one context length for the whole batch."""
        return True, ""

    def prepared_bytes(self, case: ProviderCase, element_bytes: int) -> int:
        """A contiguous copy of the cache."""
        shape = case.shape
        return 2 * shape.batch * shape.context_len * shape.num_kv_heads * shape.head_dim * element_bytes

    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """Copy the pages into [batch, num_kv_heads, context_len, head_dim] and pack the query group.

        Raises: ValueError if the contexts differ: a mask would slow torch down and make the comparison unfair.
        """
        inputs = request.inputs
        if len(set(inputs.seq_lens.tolist())) != 1:
            raise ValueError("seq_lens must be equal for torch_sdpa, got ragged ones; give every request one context")
        shape = inputs.shape
        q = inputs.q.reshape(shape.batch, shape.num_kv_heads, shape.group_size, shape.head_dim)
        k, v = contiguous_cache(inputs.k_cache, inputs), contiguous_cache(inputs.v_cache, inputs)

        def run() -> torch.Tensor:
            return scaled_dot_product_attention(q, k, v).reshape(inputs.q.shape)

        return PreparedDecode(run=run)


def contiguous_cache(cache: torch.Tensor, inputs: DecodeInputs) -> torch.Tensor:
    """The pages of each request in logical order: [batch, num_kv_heads, context_len, head_dim], contiguous."""
    shape = inputs.shape
    context_len = int(inputs.seq_lens[0])
    out = cache.new_empty(shape.batch, shape.num_kv_heads, context_len, shape.head_dim)
    for request in range(shape.batch):
        pages = inputs.block_table[request, : shape.pages_per_request].long()
        tokens = cache[pages].flatten(0, 1)[:context_len]
        out[request] = tokens.transpose(0, 1)
    return out


PROVIDER = TorchSdpa()
