"""What each operation does in a cell: its call, what is spoilt before it and looked at after it, its proof.

Binds the pure nouns of `kinetics.cases.kernels` to kernels and tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from kinetics.cases.kernels import NUM_LOCAL_PAGES, NUM_SINK_PAGES, Case, PageOperation
from kinetics.measure.cell_inputs import CellInputs, shape_of
from kinetics.measure.kernel_proof import (
    check_written,
    checked_output,
    forget_newest,
    prove_append,
    prove_attention,
    prove_scores,
    prove_selection,
    spoil,
)
from kinetics.measure.oracle import Oracle
from kinetics.measure.timing import Call
from kinetics.specs.policies import PolicyKind
from kinetics_kernels import api
from kinetics_kernels.providers import DecodeRequest, PreparedDecode, ProviderCase, find_provider
from kinetics_kernels.shapes import PageSelection


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A case ready to run on one set of inputs.

    `prove(call, oracle)` returns the largest absolute error of a call: this one, or what was timed in its place.
    `spoil` is handed the last result, or None before the first; `look` the result of a call just made. `plan` is what
    the provider does once per batch before its calls, timed apart; `refresh` its copying of new keys and values;
    `pages` tells which pages a call attends. `keep` makes of the last result a case that returns it ever after.

    Raises: `prove` and `look` raise AssertionError if the call computes something wrong or leaves it unwritten.
    """

    call: Callable[[], Any]
    prove: Callable[[Callable[[], Any], Oracle], float]
    spoil: Callable[[Any], None]
    look: Callable[[Any], None]
    plan: Call | None = None
    refresh: Callable[[], None] | None = None
    pages: Callable[[], torch.Tensor] | None = None
    keep_beside: Callable[[Any], Prepared] | None = None

    def keep(self, result: torch.Tensor) -> Prepared:
        """This case with a result that was just made in place of its call; what was written beside it is kept too."""
        return self.keep_beside(result) if self.keep_beside else replace(self, call=result.clone().clone)


def selection_of(case: Case) -> PageSelection:
    """How many pages the case keeps, and which whatever their score."""
    return PageSelection(num_pages=case.num_kept_pages, num_sink_pages=NUM_SINK_PAGES, num_local_pages=NUM_LOCAL_PAGES)


def provider_case(case: Case, *, device_kind: str) -> ProviderCase:
    """What the case's provider is asked to run."""
    return ProviderCase(
        operation=case.operation.value, shape=shape_of(case.cell), dtype=case.cell.dtype, device_type=device_kind
    )


def prepare(case: Case, inputs: CellInputs) -> Prepared:
    """Do everything that must not be timed."""
    if not isinstance(case.operation, PageOperation):
        return _prepare_attention(case, inputs)
    append, score = partial(_append, inputs), partial(_score, inputs)
    if case.operation is PageOperation.APPEND:
        return Prepared(
            call=append,
            prove=lambda call, _: prove_append(call, inputs),
            spoil=lambda _: forget_newest(inputs),
            look=lambda _: _check_appended(inputs),
        )
    if case.operation is PageOperation.SCORE:
        return _returning(score, lambda call, oracle: prove_scores(call(), oracle))
    selection = selection_of(case)
    prove = partial(_prove_selected, inputs=inputs, selection=selection)
    if case.operation is PageOperation.SELECT:
        return _returning(partial(_select, inputs, selection, inputs.scores), prove)

    def search() -> torch.Tensor:
        append()
        return _select(inputs, selection, score())

    def spoil_both(last: torch.Tensor | None) -> None:
        forget_newest(inputs)
        _spoil_last(last)

    def look_at_both(pages: torch.Tensor) -> None:
        _check_appended(inputs)
        check_written(pages)

    return replace(_returning(search, prove), spoil=spoil_both, look=look_at_both)


def _prepare_attention(case: Case, inputs: CellInputs) -> Prepared:
    selection = selection_of(case) if case.operation is PolicyKind.BLOCK_TOPK else None
    request = DecodeRequest(
        inputs=inputs.decode, page_summary=inputs.page_summary if selection else None, selection=selection
    )
    return _attending(find_provider(case.provider).prepare(request), inputs, selection)


def _attending(decode: PreparedDecode, inputs: CellInputs, selection: PageSelection | None) -> Prepared:
    def prove(call: Callable[[], Any], oracle: Oracle) -> float:
        return prove_attention(replace(decode, run=call), inputs, oracle, selection)

    def keep(out: torch.Tensor) -> Prepared:
        lse = decode.lse().clone().clone if decode.lse else None
        return _attending(replace(decode, run=out.clone().clone, lse=lse), inputs, selection)

    return replace(
        _returning(decode.run, prove),
        look=lambda out: check_written(checked_output(out, inputs)),
        plan=decode.plan,
        refresh=decode.refresh,
        pages=decode.page_indices,
        keep_beside=keep,
    )


def _returning(call: Callable[[], Any], prove: Callable[[Callable[[], Any], Oracle], float]) -> Prepared:
    """A case whose call returns all that it computes."""
    return Prepared(call=call, prove=prove, spoil=_spoil_last, look=check_written)


def _spoil_last(last: torch.Tensor | None) -> None:
    if last is not None:
        spoil(last)


def _prove_selected(call: Callable[[], Any], oracle: Oracle, *, inputs: CellInputs, selection: PageSelection) -> float:
    return prove_selection(call(), inputs, oracle, selection)


def _check_appended(inputs: CellInputs) -> None:
    pages, slot = inputs.newest_pages, inputs.newest_slot
    for written in (
        inputs.decode.k_cache[pages, slot],
        inputs.decode.v_cache[pages, slot],
        inputs.page_summary.values[pages],
    ):
        check_written(written)


def _append(inputs: CellInputs) -> None:
    api.append_kv(inputs.new_key, inputs.new_value, inputs.decode.cache, page_summary=inputs.page_summary)


def _score(inputs: CellInputs) -> torch.Tensor:
    return api.score_pages(inputs.decode.q, inputs.decode.cache, inputs.page_summary)


def _select(inputs: CellInputs, selection: PageSelection, scores: torch.Tensor) -> torch.Tensor:
    return api.select_pages(scores, inputs.decode.cache, selection=selection)
