"""Block top-k as a user would write it: einsum scores, torch.topk, a gather of the pages, torch's attention.

It selects the same pages as ours, up to ties between scores that differ by rounding alone: page means scored by the
query averaged over its group, with sink, local and current pages always kept. It works on one context length.
"""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention

from kinetics_kernels.providers import BLOCK_TOPK, DecodeRequest, PreparedDecode, ProviderCase
from kinetics_kernels.shapes import PageSelection, PageSummary, PageSummaryKind
from kinetics_kernels.testing import DecodeInputs
from kinetics_kernels.unavailable import Unavailable


class NaiveSparse:
    """The whole sparse path in plain torch."""

    name = "naive_sparse"
    distribution = "torch"
    operations = (BLOCK_TOPK,)

    def version(self) -> str:
        """Version of torch."""
        return str(torch.__version__)

    def unavailable_on(self, device_type: str) -> Unavailable | None:  # noqa: ARG002 - torch runs wherever the suite does
        """Always None."""
        return None

    def unavailable_for(self, case: ProviderCase) -> Unavailable | None:  # noqa: ARG002 - idem
        """Every shape, one context length for the whole batch."""
        return None

    def prepared_bytes(self, case: ProviderCase) -> int:  # noqa: ARG002 - see below
        """Nothing: what it gathers it allocates in the call, as a user's code does."""
        return 0

    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """Bind the inputs.

        Raises: ValueError if the contexts differ or the summary is not the mean.
        """
        inputs, summary, selection = request.inputs, request.page_summary, request.selection
        assert summary is not None
        assert selection is not None
        if summary.kind is not PageSummaryKind.MEAN or len(set(inputs.seq_lens.tolist())) != 1:
            raise ValueError("naive_sparse needs page means and equal seq_lens, got others; use provider ours")
        forced = _forced_pages(inputs, selection)

        def run() -> torch.Tensor:
            return _attend(inputs, _selected_pages(inputs, summary, selection, forced))

        def page_indices() -> torch.Tensor:
            pages = _selected_pages(inputs, summary, selection, forced)
            padding = pages.new_full((*pages.shape[:2], selection.num_pages - pages.shape[2]), -1)
            return torch.cat([pages, padding], dim=2).to(torch.int32)

        return PreparedDecode(run=run, page_indices=page_indices)


def _forced_pages(inputs: DecodeInputs, selection: PageSelection) -> torch.Tensor:
    """Boolean [pages_per_request]: sink, local and current pages."""
    logical = torch.arange(inputs.shape.pages_per_request, device=inputs.q.device)
    first_kept = inputs.shape.pages_per_request - 1 - selection.num_local_pages
    return (logical < selection.num_sink_pages) | (logical >= first_kept)


def _selected_pages(
    inputs: DecodeInputs, summary: PageSummary, selection: PageSelection, forced: torch.Tensor
) -> torch.Tensor:
    """Physical page ids int64 [batch, num_kv_heads, pages kept] in ascending logical order."""
    shape = inputs.shape
    table = inputs.block_table[:, : shape.pages_per_request].long()
    q = inputs.q.reshape(shape.batch, shape.num_kv_heads, shape.group_size, shape.head_dim)
    # float32: scores rounded to half precision would choose other pages than the best.
    scores = torch.einsum("bhgd,bphd->bhgp", q.float(), summary.values[table].float()).mean(dim=2)
    scores = scores.masked_fill(forced, torch.inf)
    kept = min(selection.num_pages, shape.pages_per_request)
    logical = torch.topk(scores, kept, dim=2).indices.sort(dim=2).values
    return table[:, None].expand(-1, shape.num_kv_heads, -1).gather(2, logical)


def _attend(inputs: DecodeInputs, pages: torch.Tensor) -> torch.Tensor:
    shape = inputs.shape
    q = inputs.q.reshape(shape.batch, shape.num_kv_heads, shape.group_size, shape.head_dim)
    heads = torch.arange(shape.num_kv_heads, device=q.device)[None, :, None]
    k, v = (cache[pages, :, heads].flatten(2, 3) for cache in (inputs.k_cache, inputs.v_cache))
    # Only the current page, the last one kept, can be partial.
    unused = shape.pages_per_request * shape.page_size - shape.context_len
    num_keys = k.shape[2] - unused
    return scaled_dot_product_attention(q, k[:, :, :num_keys], v[:, :, :num_keys]).reshape(inputs.q.shape)


PROVIDER = NaiveSparse()
