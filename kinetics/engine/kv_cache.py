"""The paged cache: who owns which page, and the keys, values and page summaries of every layer.

Pages are counted on the host. A page is shared by as many sequences as hold it; the last to let go frees it, and
a sequence about to write into a shared page gets a copy first. Memory is allocated once and mutated in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from kinetics.specs.models import ModelSpec
from kinetics_kernels import api
from kinetics_kernels.shapes import PagedCache, PageSummary, PageSummaryKind, num_pages_for


class PageAllocator:
    """Hands out page ids, lowest first, and counts who holds each.

    Raises: ValueError if there are fewer pages than 1.
    """

    def __init__(self, num_pages: int) -> None:
        if num_pages < 1:
            raise ValueError(f"num_pages must be at least 1, got {num_pages}")
        self.num_pages = num_pages
        self._free = list(range(num_pages - 1, -1, -1))
        self._num_holders = [0] * num_pages

    @property
    def num_free(self) -> int:
        """Pages nobody holds."""
        return len(self._free)

    def allocate(self, num_pages: int) -> list[int]:
        """Pages for one holder.

        Raises: ValueError if fewer are free; none is taken then.
        """
        if num_pages > len(self._free):
            raise ValueError(
                f"{num_pages} cache pages are needed, got {len(self._free)} free of {self.num_pages}; "
                "wait for a running request, or make the cache larger"
            )
        taken = [self._free.pop() for _ in range(num_pages)]
        for page in taken:
            self._num_holders[page] = 1
        return taken

    def share(self, pages: Sequence[int]) -> None:
        """One more holder for each of these pages."""
        for page in pages:
            assert self._num_holders[page] > 0, "only a held page can be shared"
            self._num_holders[page] += 1

    def release(self, pages: Sequence[int]) -> None:
        """One holder less for each of these pages; those left without any are free again."""
        for page in pages:
            assert self._num_holders[page] > 0, "a page is released once per holder"
            self._num_holders[page] -= 1
            if self._num_holders[page] == 0:
                self._free.append(page)

    def is_shared(self, page: int) -> bool:
        """Whether more than one sequence holds this page."""
        return self._num_holders[page] > 1


@dataclass(slots=True, kw_only=True)
class PagedSequence:
    """The pages of one sequence in logical order, and how many tokens they hold."""

    pages: list[int] = field(default_factory=list)
    num_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCache:
    """Views of one layer, as the kernels take them: [num_physical_pages, page_size, num_kv_heads, head_dim].

    In memory a page holds head after head, not slot after slot: sparse attention reads one head's page in one run.
    """

    keys: torch.Tensor
    values: torch.Tensor
    summary: PageSummary | None

    def paged_cache(self, block_table: torch.Tensor, seq_lens: torch.Tensor) -> PagedCache:
        """This layer's cache as these requests see it."""
        return PagedCache(k_cache=self.keys, v_cache=self.values, block_table=block_table, seq_lens=seq_lens)


class KvCache:
    """Keys, values and, if a kind is given, page summaries of all layers; and the allocator of their pages.

    The memory is not cleared: nothing reads a slot before a token is written there.
    """

    def __init__(
        self,
        model: ModelSpec,
        *,
        num_pages: int,
        page_size: int,
        device: torch.device | str,
        dtype: torch.dtype,
        summary_kind: PageSummaryKind | None,
    ) -> None:
        self.page_size = page_size
        self.allocator = PageAllocator(num_pages)
        heads = (model.num_kv_heads, model.head_dim)
        shape = (model.num_layers, num_pages, model.num_kv_heads, page_size, model.head_dim)
        self.keys, self.values = (torch.empty(shape, dtype=dtype, device=device).transpose(2, 3) for _ in range(2))
        self.summary_kind = summary_kind
        self.summaries: torch.Tensor | None = None
        if summary_kind is not None:
            extrema = (2,) if summary_kind is PageSummaryKind.MIN_MAX else ()
            self.summaries = torch.empty((model.num_layers, num_pages, *extrema, *heads), dtype=dtype, device=device)
        self.layers = [self._layer(index) for index in range(model.num_layers)]

    @property
    def num_bytes(self) -> int:
        """Memory of keys, values and summaries."""
        return self.keys.nbytes + self.values.nbytes + (0 if self.summaries is None else self.summaries.nbytes)

    def reserve(self, sequence: PagedSequence, num_tokens: int) -> None:
        """Make room for `num_tokens` more tokens, and the page they start in the sequence's own.

        Raises: ValueError if pages run out; the sequence is unchanged then.
        """
        is_partial = bool(sequence.num_tokens % self.page_size)
        must_copy = is_partial and self.allocator.is_shared(sequence.pages[-1])
        num_new = num_pages_for(sequence.num_tokens + num_tokens, self.page_size) - len(sequence.pages)
        new = self.allocator.allocate(num_new + must_copy)
        if must_copy:
            shared, sequence.pages[-1] = sequence.pages[-1], new.pop()
            self._copy_page(shared, sequence.pages[-1])
            self.allocator.release([shared])
        sequence.pages += new

    def fork(self, sequence: PagedSequence) -> PagedSequence:
        """Another sequence with the same tokens, in the same pages until one of the two writes."""
        self.allocator.share(sequence.pages)
        return PagedSequence(pages=list(sequence.pages), num_tokens=sequence.num_tokens)

    def release(self, sequence: PagedSequence) -> None:
        """Let go of all pages of a sequence."""
        self.allocator.release(sequence.pages)
        sequence.pages, sequence.num_tokens = [], 0

    def write_chunk(
        self, layer: int, pages: torch.Tensor, first: int, keys: torch.Tensor, values: torch.Tensor
    ) -> None:
        """Write the keys and values of tokens first, first + 1, ... of one sequence: [num_tokens, kv_heads, head_dim].

        They are kept in the cache's dtype. pages: int64 ids of the sequence's pages.
        """
        position = torch.arange(first, first + keys.shape[0], device=keys.device)
        at = (pages[position // self.page_size], position % self.page_size)
        dtype = self.keys.dtype
        self.layers[layer].keys[at] = keys.to(dtype)
        self.layers[layer].values[at] = values.to(dtype)

    def summarize_sequence(self, sequence: PagedSequence, *, backend: str) -> None:
        """Compute the page summaries of a whole sequence from its keys, all layers, as after a prefill."""
        if self.summaries is None or self.summary_kind is None:
            return
        device = self.keys.device
        table = torch.tensor([sequence.pages], dtype=torch.int32, device=device)
        lengths = torch.tensor([sequence.num_tokens], dtype=torch.int32, device=device)
        for layer in self.layers:
            pages = layer.paged_cache(table, lengths)
            api.summarize_pages(pages, kind=self.summary_kind, out=layer.summary, backend=backend)

    def _layer(self, index: int) -> LayerCache:
        summary = None
        if self.summaries is not None and self.summary_kind is not None:
            summary = PageSummary(kind=self.summary_kind, values=self.summaries[index])
        return LayerCache(keys=self.keys[index], values=self.values[index], summary=summary)

    def _copy_page(self, source: int, target: int) -> None:
        for tensor in (self.keys, self.values, self.summaries):
            if tensor is not None:
                tensor[:, target] = tensor[:, source]
