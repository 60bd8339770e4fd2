"""Proof, before timing, that a call computes what it claims on the very inputs it is timed on.

One policy for floats (`kinetics_kernels.testing`): at most twice the error of plain torch, plus a rounding band.
Selections are proved by their scores in float64, so that any choice among near-ties passes and no other does;
sparse attention is proved given its own selection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from kinetics_kernels.block_topk import reference as block_topk_reference
from kinetics_kernels.providers import PreparedDecode
from kinetics_kernels.shapes import PageSelection, PageSummary, num_pages_for
from kinetics_kernels.testing import (
    Attended,
    DecodeInputs,
    assert_within_error_budget,
    reference_dense,
    reference_sparse,
)

_NEAR_TIE_ROUNDINGS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CellInputs:
    """The tensors that the cases of one cell share. `scores`: page scores by our own kernel."""

    decode: DecodeInputs
    page_summary: PageSummary
    new_key: torch.Tensor
    new_value: torch.Tensor
    scores: torch.Tensor


def prove_attention(decode: PreparedDecode, inputs: CellInputs, selection: PageSelection | None) -> float:
    """Dense attention, or attention over the pages that the call itself selects, which must be the right ones.

    Returns the largest absolute error of the output. Raises: AssertionError.
    """
    # Memory handed out anew can still hold another provider's right answer: what is not written must show.
    decode.run().fill_(torch.nan)
    if selection is None:
        return _prove_output(decode.run(), lambda dtype: reference_dense(inputs.decode, dtype=dtype))
    assert decode.page_indices is not None, "a sparse provider must tell which pages it attends"
    pages = decode.page_indices()
    prove_selection(pages, inputs, selection, must_be_best=decode.keeps_best_scores)
    return _prove_output(decode.run(), lambda dtype: reference_sparse(inputs.decode, pages, dtype=dtype))


def prove_append(append: Callable[[], object], inputs: CellInputs) -> float:
    """The new key and value stand at the last token of each request, and the page summaries fit the cache.

    Returns the largest absolute error of the summaries. Raises: AssertionError.
    """
    append()
    decode = inputs.decode
    last = decode.seq_lens.long() - 1
    pages = decode.block_table.long().gather(1, (last // decode.shape.page_size)[:, None])[:, 0]
    for cache, new in ((decode.k_cache, inputs.new_key), (decode.v_cache, inputs.new_value)):
        written = cache[pages, last % decode.shape.page_size]
        assert torch.equal(written, new), "append_kv must write the new token at seq_lens - 1"
    return _prove_summaries(inputs, pages)


def prove_scores(scores: torch.Tensor, inputs: CellInputs) -> float:
    """Page scores against float64; -inf exactly where a request has no page.

    Returns the largest absolute error. Raises: AssertionError.
    """
    oracle, low_precision = (_reference_scores(inputs, dtype) for dtype in (torch.float64, torch.float32))
    exists = torch.isfinite(oracle)
    assert torch.equal(torch.isfinite(scores), exists), "scores must be finite exactly where a page exists"
    return assert_within_error_budget(
        scores[exists], oracle=oracle[exists], low_precision=low_precision[exists], subject="scores"
    )


def prove_selection(
    pages: torch.Tensor, inputs: CellInputs, selection: PageSelection, *, must_be_best: bool = True
) -> float:
    """Pages [batch, num_kv_heads, num_pages]: as many as fit, distinct, ascending, forced ones kept, the rest the best.

    Returns the largest amount by which a dropped page outscores a kept one (a near-tie), 0 if none does.
    Raises: AssertionError.
    """
    is_kept = _kept_mask(pages, inputs)
    num_existing = _num_pages(inputs.decode)[:, None]
    expected = num_existing.clamp(max=selection.num_pages).expand(is_kept.shape[:2])
    assert torch.equal(is_kept.sum(dim=2), expected), "a selection must keep num_pages distinct pages, or all there are"
    logical = torch.arange(is_kept.shape[2], device=pages.device)[None]
    is_local = (logical < num_existing) & (logical >= num_existing - 1 - selection.num_local_pages)
    is_forced = ((logical < selection.num_sink_pages) & (logical < num_existing)) | is_local
    assert bool((is_kept | ~is_forced[:, None]).all()), "sink, local and current pages must be kept"
    if not must_be_best:
        return 0.0
    return _prove_best(is_kept, is_forced[:, None], _reference_scores(inputs, torch.float64))


def _prove_output(out: torch.Tensor, reference: Callable[[torch.dtype], Attended]) -> float:
    oracle, low_precision = reference(torch.float64), reference(out.dtype)
    return assert_within_error_budget(out, oracle=oracle.out, low_precision=low_precision.out, subject="output")


def _prove_summaries(inputs: CellInputs, pages: torch.Tensor) -> float:
    """The summary of each page just written equals the mean of the keys in it."""
    decode = inputs.decode
    used = (decode.seq_lens.long() - 1) % decode.shape.page_size + 1
    worst = 0.0
    for page, num_tokens in zip(pages.tolist(), used.tolist(), strict=True):
        keys = decode.k_cache[page, :num_tokens]
        error = assert_within_error_budget(
            inputs.page_summary.values[page],
            oracle=keys.double().mean(dim=0),
            low_precision=keys.mean(dim=0),
            subject="page summary",
        )
        worst = max(worst, error)
    return worst


def _num_pages(decode: DecodeInputs) -> torch.Tensor:
    return num_pages_for(decode.seq_lens.long(), decode.shape.page_size)


def _reference_scores(inputs: CellInputs, dtype: torch.dtype) -> torch.Tensor:
    """Scores [batch, num_kv_heads, max_pages] in this dtype from the summaries as stored; -inf where no page is."""
    decode = inputs.decode
    summary = PageSummary(kind=inputs.page_summary.kind, values=inputs.page_summary.values.to(dtype))
    scores = torch.empty(inputs.scores.shape, dtype=dtype, device=decode.q.device)
    block_topk_reference.score_pages(decode.q.to(dtype), decode.cache, summary, scores=scores)
    return scores


def _kept_mask(pages: torch.Tensor, inputs: CellInputs) -> torch.Tensor:
    """Boolean [batch, num_kv_heads, max_pages] over logical pages; asserts that the list ascends, -1 in the tail."""
    table = inputs.decode.block_table
    num_physical = inputs.decode.k_cache.shape[0]
    is_listed = pages >= 0
    assert bool((is_listed[..., :-1] | ~is_listed[..., 1:]).all()), "-1 may stand only in the tail of a page list"
    logical_of = table.new_full((table.shape[0], num_physical), -1).long()
    exists = torch.arange(table.shape[1], device=table.device)[None] < _num_pages(inputs.decode)[:, None]
    for request in range(table.shape[0]):
        ids = table[request][exists[request]].long()
        logical_of[request, ids] = torch.arange(len(ids), device=table.device)
    logical = logical_of[:, None].expand(-1, pages.shape[1], -1).gather(2, pages.clamp(min=0).long())
    assert bool((logical[is_listed] >= 0).all()), "a page list must name pages of its own request"
    ascends = (logical[..., 1:] > logical[..., :-1]) | ~is_listed[..., 1:]
    assert bool(ascends.all()), "a page list must ascend in logical order"
    mask = torch.zeros(*pages.shape[:2], table.shape[1], dtype=torch.bool, device=pages.device)
    return mask.scatter_reduce_(2, logical.clamp(min=0), is_listed, reduce="amax")


def _prove_best(is_kept: torch.Tensor, is_forced: torch.Tensor, scores: torch.Tensor) -> float:
    chosen = scores.masked_fill(~is_kept | is_forced, torch.inf).amin(dim=2)
    dropped = scores.masked_fill(is_kept | is_forced, -torch.inf).amax(dim=2)
    excess = (dropped - chosen).clamp(min=0.0).nan_to_num(0.0, posinf=0.0)
    largest = float(scores[torch.isfinite(scores)].abs().max())
    band = _NEAR_TIE_ROUNDINGS * torch.finfo(torch.float32).eps * largest
    worst = float(excess.max())
    assert worst <= band, f"a dropped page outscores a kept one by {worst:.3e}, rounding explains {band:.3e}"
    return worst
