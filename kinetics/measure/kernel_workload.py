"""What each operation does in a cell: its inputs, its call, its proof, its work.

Binds the pure nouns of `kinetics.cases.kernels` and `kinetics.cost.kernels` to kernels and tensors. Every call is
proved on its own shape against float64 before anyone times it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from kinetics.cases.kernels import NUM_LOCAL_PAGES, NUM_SINK_PAGES, Case, Cell, PageOperation
from kinetics.measure.kernel_proof import CellInputs, prove_append, prove_attention, prove_scores, prove_selection
from kinetics.measure.timing import Call
from kinetics.specs.policies import PolicyKind
from kinetics_kernels import api
from kinetics_kernels.providers import DecodeRequest, ProviderCase, find_provider
from kinetics_kernels.shapes import DecodeShape, PageSelection, PageSummaryKind
from kinetics_kernels.testing import make_inputs


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


def selection_of(case: Case) -> PageSelection:
    """How many pages the case keeps, and which whatever their score."""
    return PageSelection(num_pages=case.num_kept_pages, num_sink_pages=NUM_SINK_PAGES, num_local_pages=NUM_LOCAL_PAGES)


def make_cell_inputs(cell: Cell, *, device: str, seed: int) -> CellInputs:
    """Random inputs of a cell, page summaries included."""
    dtype = getattr(torch, cell.dtype)
    decode = make_inputs(shape_of(cell), dtype=dtype, device=device, seed=seed, layout=cell.kv_layout)
    summary = api.summarize_pages(decode.cache, kind=PageSummaryKind.MEAN)
    generator = torch.Generator(device=device).manual_seed(seed + 1)
    new_shape = (cell.batch, cell.model.num_kv_heads, cell.model.head_dim)
    new = [torch.empty(new_shape, dtype=dtype, device=device).normal_(generator=generator) for _ in ("k", "v")]
    scores = api.score_pages(decode.q, decode.cache, summary)
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
    if case.operation is PolicyKind.DENSE:
        request = DecodeRequest(inputs=inputs.decode)
        decode = find_provider(case.provider).prepare(request)
        return Prepared(call=decode.run, prove=partial(prove_attention, decode, inputs, None), plan=decode.plan)
    if case.operation is PolicyKind.BLOCK_TOPK:
        selection = selection_of(case)
        request = DecodeRequest(inputs=inputs.decode, page_summary=inputs.page_summary, selection=selection)
        decode = find_provider(case.provider).prepare(request)
        return Prepared(call=decode.run, prove=partial(prove_attention, decode, inputs, selection), plan=decode.plan)
    return _prepare_search(case, inputs)


def _prepare_search(case: Case, inputs: CellInputs) -> Prepared:
    append, score = partial(_append, inputs), partial(_score, inputs)
    if case.operation is PageOperation.APPEND:
        return Prepared(call=append, prove=lambda: prove_append(append, inputs))
    if case.operation is PageOperation.SCORE:
        return Prepared(call=score, prove=lambda: prove_scores(score(), inputs))
    selection = selection_of(case)
    select = partial(_select, inputs, selection)
    if case.operation is PageOperation.SELECT:
        return Prepared(
            call=partial(select, inputs.scores), prove=lambda: prove_selection(select(inputs.scores), inputs, selection)
        )

    def search() -> torch.Tensor:
        append()
        return select(score())

    return Prepared(call=search, prove=lambda: prove_selection(search(), inputs, selection))


def _append(inputs: CellInputs) -> None:
    api.append_kv(inputs.new_key, inputs.new_value, inputs.decode.cache, page_summary=inputs.page_summary)


def _score(inputs: CellInputs) -> torch.Tensor:
    return api.score_pages(inputs.decode.q, inputs.decode.cache, inputs.page_summary)


def _select(inputs: CellInputs, selection: PageSelection, scores: torch.Tensor) -> torch.Tensor:
    return api.select_pages(scores, inputs.decode.cache, selection=selection)
