"""The tensors that the cases of one cell share, and their values: drawn anew in place, asked anew, fingerprinted.

Memory is allocated once, so that a call prepared on it can be held to values that came later.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from kinetics.cases.kernels import Cell
from kinetics.engine.weights import fill_repeating
from kinetics.measure.loud_keys import write_loud_keys
from kinetics_kernels import api
from kinetics_kernels.shapes import DecodeShape, PageSummary, PageSummaryKind
from kinetics_kernels.testing import DecodeInputs, allocate_inputs, in_memory_order, poison_unused

_NOISE_PERIOD = 1_048_583
"""A prime, so that repeated noise never meets itself in one place of a page."""
_EXACT_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class CellInputs:
    """Queries, a full paged cache with page summaries, and what is appended: the newest token, there already.

    `scores`: page scores of the queries by our own kernel. `newest_pages`, `newest_slot`: where the newest token lies.
    """

    decode: DecodeInputs
    page_summary: PageSummary
    new_key: torch.Tensor
    new_value: torch.Tensor
    scores: torch.Tensor

    @property
    def newest_pages(self) -> torch.Tensor:
        """Physical page of each request's newest token."""
        return self.decode.block_table[:, (self.decode.shape.context_len - 1) // self.decode.shape.page_size].long()

    @property
    def newest_slot(self) -> int:
        """Slot of the newest token in its page."""
        return (self.decode.shape.context_len - 1) % self.decode.shape.page_size

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """Everything that calls read."""
        decode = self.decode
        summaries = self.page_summary.values
        new = (self.new_key, self.new_value, self.scores)
        return (decode.q, decode.k_cache, decode.v_cache, decode.block_table, decode.seq_lens, summaries, *new)


def shape_of(cell: Cell) -> DecodeShape:
    """The kernel API's view of a cell.

    Raises: ValueError if the kernels do not know such heads or pages.
    """
    return DecodeShape(
        batch=cell.batch,
        context_len=cell.context_len,
        num_q_heads=cell.model.num_q_heads,
        num_kv_heads=cell.model.num_kv_heads,
        head_dim=cell.model.head_dim,
        page_size=cell.page_size,
    )


def make_cell_inputs(cell: Cell, *, device: str, seed: int) -> CellInputs:
    """Inputs of a cell with the values that `draw` gives them."""
    dtype = getattr(torch, cell.dtype)
    decode = allocate_inputs(shape_of(cell), dtype=dtype, device=device, seed=seed, layout=cell.kv_layout)
    cache = decode.cache
    new_shape = (cell.batch, cell.model.num_kv_heads, cell.model.head_dim)
    summary_shape = (cache.num_physical_pages, *new_shape[1:])
    inputs = CellInputs(
        decode=decode,
        page_summary=PageSummary(
            kind=PageSummaryKind.MEAN, values=torch.full(summary_shape, torch.nan, dtype=dtype, device=device)
        ),
        new_key=torch.empty(new_shape, dtype=dtype, device=device),
        new_value=torch.empty(new_shape, dtype=dtype, device=device),
        scores=torch.empty((cell.batch, cache.num_kv_heads, cache.max_pages), device=device),
    )
    draw(inputs, seed=seed)
    return inputs


def draw(inputs: CellInputs, *, seed: int, refreshes: Iterable[Callable[[], None]] = ()) -> None:
    """Fill all memory with values of this seed, those of six loud keys among them.

    `refreshes` are called when keys and values are new and the queries, which the loud keys answer, are not.
    """
    decode = inputs.decode
    generator = torch.Generator(device=decode.q.device).manual_seed(seed)
    q = torch.empty_like(decode.q).normal_(generator=generator)
    for cache in (decode.k_cache, decode.v_cache):
        noise = torch.randn(_NOISE_PERIOD, generator=generator, device=q.device).to(q.dtype)
        fill_repeating(in_memory_order(cache), noise)
    write_loud_keys(decode.cache, q, context_len=decode.shape.context_len)
    inputs.new_key.copy_(decode.k_cache[inputs.newest_pages, inputs.newest_slot])
    inputs.new_value.copy_(decode.v_cache[inputs.newest_pages, inputs.newest_slot])
    poison_unused(decode)
    api.summarize_pages(decode.cache, kind=inputs.page_summary.kind, out=inputs.page_summary)
    for refresh in refreshes:
        refresh()
    decode.q.copy_(q)
    inputs.scores.copy_(api.score_pages(decode.q, decode.cache, inputs.page_summary))


def ask_anew(inputs: CellInputs, generator: torch.Generator) -> None:
    """Other queries on the same cache, which no loud key answers: what a timed call should not have seen before."""
    inputs.decode.q.normal_(generator=generator)


class WatchedInputs:
    """Inputs that can be drawn anew, and that tell whether anybody has overwritten them since.

    Queries are left out of that: they change with every timed call.
    """

    def __init__(self, inputs: CellInputs, *, seed: int) -> None:
        self.inputs = inputs
        self._seed = seed
        self._fingerprint = self._present()

    def draw(self, *, seed: int, refreshes: Iterable[Callable[[], None]] = ()) -> None:
        """New values; see `draw`."""
        draw(self.inputs, seed=seed, refreshes=refreshes)
        self._seed, self._fingerprint = seed, self._present()

    def restore(self) -> None:
        """The values of the last draw, whatever was done to them."""
        draw(self.inputs, seed=self._seed)

    def is_intact(self, *, is_appended: bool = False) -> bool:
        """Whether all is as it was drawn; with `is_appended`, but for the newest token and its page's summary."""
        if is_appended:
            write_newest(self.inputs)
        return self._present() == self._fingerprint

    def _present(self) -> tuple[int, ...]:
        return tuple(fingerprint(tensor) for tensor in self.inputs.tensors if tensor is not self.inputs.decode.q)


def write_newest(inputs: CellInputs) -> None:
    """Each request's newest token and its page's summary as they were drawn."""
    decode = inputs.decode
    decode.k_cache[inputs.newest_pages, inputs.newest_slot] = inputs.new_key
    decode.v_cache[inputs.newest_pages, inputs.newest_slot] = inputs.new_value
    api.summarize_pages(decode.cache, kind=inputs.page_summary.kind, out=inputs.page_summary)


def fingerprint(tensor: torch.Tensor) -> int:
    """A number that a write to the tensor changes; if it is large, all but one that reorders a single vector."""
    memory = in_memory_order(tensor) if tensor.dim() == 4 else tensor
    num_bytes = memory.numel() * memory.element_size()
    if num_bytes <= _EXACT_BYTES or memory.shape[-1] * memory.element_size() % 8:
        return zlib.crc32(memory.view(torch.uint8).cpu().numpy().tobytes())
    vectors = memory.view(torch.int64).sum(dim=-1).flatten()
    weights = torch.arange(1, 2 * len(vectors), 2, device=vectors.device)
    return int((vectors * weights).sum())  # wraps around, as it should
