"""What each operation does in a cell: its inputs, its call, its proof, its work.

Binds the pure nouns of `kinetics.grid` and `kinetics.cost` to kernels and tensors. Every call is proved on its own
shape against float64 before anyone times it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from kinetics import cost
from kinetics.cost import Work
from kinetics.grid import NUM_LOCAL_PAGES, NUM_SINK_PAGES, Case, Cell, Operation
from kinetics.measure import Call
from kinetics.proofs import CellInputs, prove_append, prove_attention, prove_scores, prove_selection
from kinetics_kernels import api
from kinetics_kernels.providers import DecodeRequest, ProviderCase, find_provider
from kinetics_kernels.shapes import DecodeShape, PageSelection, PageSummaryKind
from kinetics_kernels.testing import make_inputs

NUM_LAUNCHES = {
    Operation.DENSE: 2,
    Operation.BLOCK_TOPK: 4,
    Operation.APPEND: 1,
    Operation.SCORE: 1,
    Operation.SELECT: 1,
    Operation.SEARCH: 3,
}
"""Dependent launches of the plain algorithm: split decode and merge; score, select, split decode and merge; ..."""

_NUM_SUMMARY_VECTORS = 1  # the mean


def shape_of(cell: Cell) -> DecodeShape:
    """The kernel API's view of a cell."""
    return DecodeShape(
        batch=cell.batch,
        context_len=cell.context_len,
        num_q_heads=cell.model.num_q_heads,
        num_kv_heads=cell.model.num_kv_heads,
        head_dim=cell.model.head_dim,
        page_size=cell.page_size,
    )


def selection_of(case: Case) -> PageSelection:
    """How many pages the case keeps, and which whatever their score."""
    return PageSelection(num_pages=case.num_kept_pages, num_sink_pages=NUM_SINK_PAGES, num_local_pages=NUM_LOCAL_PAGES)


def element_bytes(cell: Cell) -> int:
    """Bytes of one element of the cache."""
    return int(getattr(torch, cell.dtype).itemsize)


def work_of(case: Case) -> Work:
    """FLOP and bytes that the case cannot avoid."""
    shape, size = shape_of(case.cell), element_bytes(case.cell)
    heads = {"batch": shape.batch, "num_q_heads": shape.num_q_heads, "num_kv_heads": shape.num_kv_heads}
    heads |= {"head_dim": shape.head_dim, "element_bytes": size}
    pages = {"num_pages": shape.pages_per_request, "num_summary_vectors": _NUM_SUMMARY_VECTORS}
    match case.operation:
        case Operation.DENSE:
            return cost.dense_attention_work(context_len=shape.context_len, **heads)
        case Operation.BLOCK_TOPK:
            kept = min(case.num_kept_pages, shape.pages_per_request)
            return cost.block_topk_work(num_kept_pages=kept, num_keys=_kept_keys(shape, kept), **heads, **pages)
        case Operation.APPEND:
            return _append_work(shape, size)
        case Operation.SCORE:
            return cost.page_score_work(**heads, **pages)
        case Operation.SELECT:
            return _select_work(case, shape)
        case Operation.SEARCH:
            return _append_work(shape, size) + cost.page_score_work(**heads, **pages) + _select_work(case, shape)


def make_cell_inputs(cell: Cell, *, device: str, seed: int) -> CellInputs:
    """Random inputs of a cell, page summaries included."""
    dtype = getattr(torch, cell.dtype)
    decode = make_inputs(shape_of(cell), dtype=dtype, device=device, seed=seed, layout=cell.kv_layout)
    summary = api.summarize_pages(decode.k_cache, decode.block_table, decode.seq_lens, kind=PageSummaryKind.MEAN)
    generator = torch.Generator(device=device).manual_seed(seed + 1)
    new_shape = (cell.batch, cell.model.num_kv_heads, cell.model.head_dim)
    new = [torch.empty(new_shape, dtype=dtype, device=device).normal_(generator=generator) for _ in ("k", "v")]
    scores = api.score_pages(decode.q, summary, decode.block_table, decode.seq_lens, page_size=cell.page_size)
    return CellInputs(decode=decode, page_summary=summary, new_key=new[0], new_value=new[1], scores=scores)


def provider_case(case: Case, *, device_kind: str) -> ProviderCase:
    """What the case's provider is asked to run."""
    return ProviderCase(
        operation=case.operation.value, shape=shape_of(case.cell), dtype=case.cell.dtype, device_type=device_kind
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A case ready to run on one set of inputs: the call to time, and the proof that it is right.

    `plan` is what the provider does once per batch before its calls, timed apart. `prove` returns the largest absolute
    error. Raises: AssertionError if the call computes something wrong.
    """

    call: Call
    prove: Callable[[], float]
    plan: Call | None = None


def prepare(case: Case, inputs: CellInputs) -> Prepared:
    """Do everything that must not be timed."""
    if case.operation is Operation.DENSE:
        request = DecodeRequest(inputs=inputs.decode)
        decode = find_provider(case.provider).prepare(request)
        return Prepared(call=decode.run, prove=partial(prove_attention, decode, inputs, None), plan=decode.plan)
    if case.operation is Operation.BLOCK_TOPK:
        selection = selection_of(case)
        request = DecodeRequest(inputs=inputs.decode, page_summary=inputs.page_summary, selection=selection)
        decode = find_provider(case.provider).prepare(request)
        return Prepared(call=decode.run, prove=partial(prove_attention, decode, inputs, selection), plan=decode.plan)
    return _prepare_search(case, inputs)


def _prepare_search(case: Case, inputs: CellInputs) -> Prepared:
    append, score = partial(_append, inputs), partial(_score, inputs)
    if case.operation is Operation.APPEND:
        return Prepared(call=append, prove=lambda: prove_append(append, inputs))
    if case.operation is Operation.SCORE:
        return Prepared(call=score, prove=lambda: prove_scores(score(), inputs))
    selection = selection_of(case)
    select = partial(_select, inputs, selection)
    if case.operation is Operation.SELECT:
        return Prepared(
            call=partial(select, inputs.scores), prove=lambda: prove_selection(select(inputs.scores), inputs, selection)
        )

    def search() -> torch.Tensor:
        append()
        return select(score())

    return Prepared(call=search, prove=lambda: prove_selection(search(), inputs, selection))


def _append(inputs: CellInputs) -> None:
    decode = inputs.decode
    api.append_kv(
        inputs.new_key,
        inputs.new_value,
        decode.k_cache,
        decode.v_cache,
        decode.block_table,
        decode.seq_lens,
        page_summary=inputs.page_summary,
    )


def _score(inputs: CellInputs) -> torch.Tensor:
    decode = inputs.decode
    return api.score_pages(
        decode.q, inputs.page_summary, decode.block_table, decode.seq_lens, page_size=decode.shape.page_size
    )


def _select(inputs: CellInputs, selection: PageSelection, scores: torch.Tensor) -> torch.Tensor:
    decode = inputs.decode
    return api.select_pages(
        scores,
        decode.block_table,
        decode.seq_lens,
        page_size=decode.shape.page_size,
        num_pages=selection.num_pages,
        num_sink_pages=selection.num_sink_pages,
        num_local_pages=selection.num_local_pages,
    )


def _kept_keys(shape: DecodeShape, num_kept_pages: int) -> int:
    """Keys in the pages kept; only the current page, always kept, can be partial."""
    unused = shape.pages_per_request * shape.page_size - shape.context_len
    return num_kept_pages * shape.page_size - unused


def _append_work(shape: DecodeShape, size: int) -> Work:
    return cost.append_work(
        batch=shape.batch,
        num_kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        element_bytes=size,
        tokens_in_page=(shape.context_len - 1) % shape.page_size + 1,
        page_size=shape.page_size,
        num_summary_vectors=_NUM_SUMMARY_VECTORS,
    )


def _select_work(case: Case, shape: DecodeShape) -> Work:
    return cost.page_select_work(
        batch=shape.batch,
        num_pages=shape.pages_per_request,
        num_kept_pages=case.num_kept_pages,
        num_kv_heads=shape.num_kv_heads,
    )
