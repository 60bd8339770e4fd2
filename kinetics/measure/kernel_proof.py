"""Proof, before and after timing, that a call computes what it claims from the values that its inputs hold now.

One policy for floats (`kinetics_kernels.testing`): at most twice the error of plain torch, plus a rounding band.
Selections are proved by their scores in float64, so that any choice among near-ties passes and no other does;
sparse attention is proved given its own selection. Whatever a call writes is spoilt before it runs.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from kinetics.measure.cell_inputs import CellInputs
from kinetics.measure.oracle import Oracle
from kinetics_kernels.providers import PreparedDecode
from kinetics_kernels.shapes import PageSelection, num_pages_for
from kinetics_kernels.testing import Attended, DecodeInputs, assert_within_error_budget

_NEAR_TIE_ROUNDINGS = 64
_NO_PAGE = -2


def prove_attention(
    decode: PreparedDecode, inputs: CellInputs, oracle: Oracle, selection: PageSelection | None
) -> float:
    """Dense attention, or attention over the pages that the call itself selects, which must be the right ones.

    Returns the largest absolute error of the output. Raises: AssertionError.
    """
    # Memory handed out anew can still hold another provider's right answer: what is not written must show.
    spoil(checked_output(decode.run(), inputs))
    if selection is None:
        return _prove_output(decode, inputs, oracle.dense)
    assert decode.page_indices is not None, "a sparse provider must tell which pages it attends"
    pages = decode.page_indices()
    prove_selection(pages, inputs, oracle, selection, must_be_best=decode.keeps_best_scores)
    return _prove_output(decode, inputs, lambda dtype: oracle.sparse(pages, dtype))


def prove_append(append: Callable[[], object], inputs: CellInputs) -> float:
    """The new key and value stand at the last token of each request, and the page summaries fit the cache.

    Returns the largest absolute error of the summaries. Raises: AssertionError.
    """
    forget_newest(inputs)
    append()
    decode = inputs.decode
    for cache, new in ((decode.k_cache, inputs.new_key), (decode.v_cache, inputs.new_value)):
        written = cache[inputs.newest_pages, inputs.newest_slot]
        assert torch.equal(written, new), "append_kv must write the new token at seq_lens - 1"
    return _prove_summaries(inputs)


def forget_newest(inputs: CellInputs) -> None:
    """NaN in place of each request's newest token and of its page's summary: what is not appended must show."""
    for tensor in (inputs.decode.k_cache, inputs.decode.v_cache):
        tensor[inputs.newest_pages, inputs.newest_slot] = torch.nan
    inputs.page_summary.values[inputs.newest_pages] = torch.nan


def prove_scores(scores: torch.Tensor, oracle: Oracle) -> float:
    """Page scores against float64; -inf exactly where a request has no page.

    Returns the largest absolute error. Raises: AssertionError.
    """
    exact, low_precision = (oracle.scores(dtype) for dtype in (torch.float64, torch.float32))
    exists = torch.isfinite(exact)
    assert torch.equal(torch.isfinite(scores), exists), "scores must be finite exactly where a page exists"
    return assert_within_error_budget(
        scores[exists], oracle=exact[exists], low_precision=low_precision[exists], subject="scores"
    )


def prove_selection(
    pages: torch.Tensor, inputs: CellInputs, oracle: Oracle, selection: PageSelection, *, must_be_best: bool = True
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
    return _prove_best(is_kept, is_forced[:, None], oracle.scores(torch.float64))


def checked_output(out: object, inputs: CellInputs) -> torch.Tensor:
    """What a call of attention returned, if it is an output of its own that lies in memory.

    Raises: AssertionError for one that is computed when it is read, is no tensor of the query's kind, or is an input.
    """
    assert type(out) is torch.Tensor, f"output must be a plain tensor, got {type(out).__name__}"
    q = inputs.decode.q
    assert (out.shape, out.dtype, out.device) == (q.shape, q.dtype, q.device), "output must be shaped like the query"
    memory = {tensor.untyped_storage().data_ptr() for tensor in inputs.tensors}
    assert out.untyped_storage().data_ptr() not in memory, "output must not lie in the memory of an input"
    return out


def spoil(result: torch.Tensor) -> None:
    """Overwrite a result with what no call writes: NaN, or page -2."""
    result.fill_(torch.nan if result.is_floating_point() else _NO_PAGE)


def check_written(result: torch.Tensor) -> None:
    """Raises: AssertionError if a result still holds what `spoil` wrote."""
    unwritten = torch.isnan(result) if result.is_floating_point() else result == _NO_PAGE
    assert not bool(unwritten.any()), "a call must write its whole output before it returns, got some left as it was"


def _prove_output(decode: PreparedDecode, inputs: CellInputs, reference: Callable[[torch.dtype], Attended]) -> float:
    out = checked_output(decode.run(), inputs)
    at_once = out.clone()
    exact, low_precision = reference(torch.float64), reference(out.dtype)
    error = assert_within_error_budget(at_once, oracle=exact.out, low_precision=low_precision.out, subject="output")
    assert torch.equal(out, at_once), "output must stay as it is once a call has returned"
    if decode.lse is not None:
        # Float32 whatever the data: a token forgotten at a long context shows here when 16 bits of output hide it.
        single = reference(torch.float32)
        assert_within_error_budget(decode.lse(), oracle=exact.lse, low_precision=single.lse, subject="LSE")
    return error


def _prove_summaries(inputs: CellInputs) -> float:
    """The summary of each page just written equals the mean of the keys in it."""
    worst = 0.0
    for page in inputs.newest_pages.tolist():
        keys = inputs.decode.k_cache[page, : inputs.newest_slot + 1]
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
