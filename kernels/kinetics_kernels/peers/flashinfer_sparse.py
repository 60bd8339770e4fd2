"""Block top-k by FlashInfer: its top-k over the page scores of ours, and its decode over (request x KV head) rows.

Each KV head of a request is a request of its own, with one KV head and the pages that were chosen for it. Keys and
values lie head after head in each page (a copy, made outside the timed call), so that a head's page is a page. Planned
once: the number of pages of a row does not change.
"""

from __future__ import annotations

import importlib
from functools import partial
from typing import Any

import torch

from kinetics_kernels import api
from kinetics_kernels.peer_kinds.gpu_peer import GpuPeer
from kinetics_kernels.peers.flashinfer import INSTALL_HINT, WORKSPACE_BYTES
from kinetics_kernels.providers import BLOCK_TOPK, DecodeRequest, PreparedDecode, ProviderCase
from kinetics_kernels.shapes import PageSelection, PageSummary
from kinetics_kernels.testing import DecodeInputs

ELEMENT_BYTES = 2


class FlashInferSparse(GpuPeer):
    """`top_k_page_table_transform` and `BatchDecodeWithPagedKVCacheWrapper`."""

    name = "flashinfer_sparse"
    distribution = "flashinfer-python"
    install_hint = INSTALL_HINT
    operations = (BLOCK_TOPK,)

    def version(self) -> str:
        """Version of the package, and how it gets its cache."""
        return f"{super().version()} (rows of one KV head, head-major copy)"

    def prepared_bytes(self, case: ProviderCase) -> int:
        """Its workspace, and keys and values once more."""
        shape = case.shape
        slots = shape.batch * (shape.pages_per_request + 1) * shape.page_size
        return WORKSPACE_BYTES + 2 * slots * shape.num_kv_heads * shape.head_dim * ELEMENT_BYTES

    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """Copy the cache head by head, and plan.

        Raises: ValueError if the contexts differ or have fewer pages than are kept.
        """
        assert request.page_summary is not None
        assert request.selection is not None
        rows = _Rows(request.inputs, request.page_summary, request.selection)
        return PreparedDecode(run=rows.run, page_indices=rows.page_indices, plan=rows.plan, refresh=rows.copy_cache)


class _Rows:
    """The rows of one set of inputs, and their wrapper."""

    def __init__(self, inputs: DecodeInputs, summary: PageSummary, selection: PageSelection) -> None:
        shape = inputs.shape
        if len(set(inputs.seq_lens.tolist())) != 1 or shape.pages_per_request < selection.num_pages:
            raise ValueError(
                f"flashinfer_sparse needs equal seq_lens of at least {selection.num_pages} pages, got others; "
                "give every request one context"
            )
        self._inputs, self._summary, self._selection = inputs, summary, selection
        self._flashinfer = importlib.import_module("flashinfer")
        self._num_rows = shape.batch * shape.num_kv_heads
        self._k, self._v = (
            cache.new_empty(cache.shape[0] * shape.num_kv_heads, shape.page_size, 1, shape.head_dim)
            for cache in (inputs.k_cache, inputs.v_cache)
        )
        heads = torch.arange(shape.num_kv_heads, dtype=torch.int32, device=inputs.q.device)
        table = inputs.block_table[:, None, : shape.pages_per_request] * shape.num_kv_heads + heads[None, :, None]
        self._table = table.reshape(self._num_rows, -1).contiguous()
        self._lengths = torch.full_like(self._table[:, 0], shape.pages_per_request - 1)
        self._indices = self._table[:, -selection.num_pages :].contiguous()  # the current page is the last, and stays
        self._wrapper = self._wrap()
        self.copy_cache()
        self.plan()

    def copy_cache(self) -> None:
        """Keys and values as they are now, head after head."""
        for source, out in ((self._inputs.k_cache, self._k), (self._inputs.v_cache, self._v)):
            out.view(source.shape[0], source.shape[2], source.shape[1], source.shape[3]).copy_(source.transpose(1, 2))

    def plan(self) -> None:
        """What FlashInfer computes from lengths."""
        shape = self._inputs.shape
        indptr, last = self._layout()
        self._wrapper.plan(
            indptr,
            self._indices.flatten(),
            last,
            shape.group_size,
            1,
            shape.head_dim,
            shape.page_size,
            q_data_type=self._inputs.q.dtype,
            kv_data_type=self._inputs.k_cache.dtype,
            sm_scale=shape.head_dim**-0.5,
        )

    def run(self) -> torch.Tensor:
        """Score, choose, attend."""
        self._indices[:, :-1] = self._choose()
        shape = self._inputs.shape
        q = self._inputs.q.view(self._num_rows, shape.group_size, shape.head_dim)
        out: torch.Tensor = self._wrapper.run(q, (self._k, self._v))
        return out.view(self._inputs.q.shape)

    def page_indices(self) -> torch.Tensor:
        """The physical pages of the next call, in logical order."""
        chosen = torch.cat([self._choose(), self._table[:, -1:]], dim=1)
        logical = (self._table[:, None] == chosen[..., None]).int().argmax(dim=-1).sort(dim=1).values
        pages = self._table.gather(1, logical) // self._inputs.shape.num_kv_heads
        return pages.view(self._inputs.shape.batch, self._inputs.shape.num_kv_heads, -1).to(torch.int32)

    def _choose(self) -> torch.Tensor:
        """All pages that are kept but the current one, in any order, as pages of rows."""
        selection = self._selection
        scores = api.score_pages(self._inputs.q, self._inputs.cache, self._summary)
        last = self._inputs.shape.pages_per_request - 1
        scores[..., : selection.num_sink_pages] = torch.inf
        scores[..., last - selection.num_local_pages : last] = torch.inf
        chosen: torch.Tensor = self._flashinfer.top_k_page_table_transform(
            scores.view(self._num_rows, -1)[:, : last + 1].contiguous(),
            self._table,
            self._lengths,
            selection.num_pages - 1,
            dsa_graph_safe=True,
        )
        return chosen

    def _wrap(self) -> Any:
        workspace = torch.zeros(WORKSPACE_BYTES, dtype=torch.uint8, device=self._inputs.q.device)
        indptr, last = self._layout()
        make = partial(self._flashinfer.BatchDecodeWithPagedKVCacheWrapper, workspace, "NHD")
        return make(
            use_cuda_graph=True,
            use_tensor_cores=True,
            paged_kv_indptr_buffer=indptr.clone(),
            paged_kv_indices_buffer=self._indices.view(-1),
            paged_kv_last_page_len_buffer=last.clone(),
        )

    def _layout(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Where each row's pages start, and how full its last one is."""
        num_kept, page_size = self._selection.num_pages, self._inputs.shape.page_size
        starts = torch.arange(self._num_rows + 1, dtype=torch.int32, device=self._inputs.q.device) * num_kept
        fill = ((self._inputs.seq_lens - 1) % page_size + 1).to(torch.int32)
        return starts, fill.repeat_interleave(self._inputs.shape.num_kv_heads)


PROVIDER = FlashInferSparse()
