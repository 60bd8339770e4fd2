"""Inputs and verdicts for tests and benches: random paged caches, the float64 oracle, one error policy.

The policy: the error of a kernel against float64 may be at most twice the error of the same computation in plain
torch of the kernel's dtype, plus a band of a few roundings of the largest value. An LSE is float32 whatever the data,
so its yardstick is plain torch in float32. Nothing here is timed.
Memory no request uses (spare pages, slots past a request's last token) is NaN: a kernel that reads it shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from kinetics_kernels.block_topk import reference as block_topk_reference
from kinetics_kernels.dense import reference as dense_reference
from kinetics_kernels.shapes import DecodeShape, Layout, PagedCache, num_pages_for

ERROR_FACTOR = 2
"""A kernel may err this many times as much as plain torch of its dtype."""
BAND_ROUNDINGS = 4
"""Roundings of the largest value allowed on top: short sums in plain torch can be exact by luck."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeInputs:
    """The tensors of one decode attention call. `seq_lens` may be shorter than `shape.context_len`."""

    shape: DecodeShape
    layout: Layout
    q: torch.Tensor
    cache: PagedCache

    @property
    def k_cache(self) -> torch.Tensor:
        """Keys of the cache."""
        return self.cache.k_cache

    @property
    def v_cache(self) -> torch.Tensor:
        """Values of the cache."""
        return self.cache.v_cache

    @property
    def block_table(self) -> torch.Tensor:
        """Block table of the cache."""
        return self.cache.block_table

    @property
    def seq_lens(self) -> torch.Tensor:
        """Tokens of each request in the cache."""
        return self.cache.seq_lens


@dataclass(frozen=True, slots=True, kw_only=True)
class Attended:
    """What attention computes: out [batch, num_q_heads, head_dim], lse [batch, num_q_heads]."""

    out: torch.Tensor
    lse: torch.Tensor


def make_inputs(
    shape: DecodeShape,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
    seed: int,
    seq_lens: Sequence[int] | None = None,
    layout: Layout = "nhd",
    shuffled: bool = True,
    table_width: int | None = None,
) -> DecodeInputs:
    """Standard normal queries, keys and values in a paged cache whose unused memory is NaN.

    Raises: ValueError as `allocate_inputs` does.
    """
    inputs = allocate_inputs(
        shape,
        dtype=dtype,
        device=device,
        seed=seed,
        seq_lens=seq_lens,
        layout=layout,
        shuffled=shuffled,
        table_width=table_width,
    )
    generator = torch.Generator(device=device).manual_seed(seed)
    for tensor in (inputs.k_cache, inputs.v_cache):
        in_memory_order(tensor).normal_(generator=generator)
    inputs.q.normal_(generator=generator)
    poison_unused(inputs)
    return inputs


def allocate_inputs(
    shape: DecodeShape,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
    seed: int,
    seq_lens: Sequence[int] | None = None,
    layout: Layout = "nhd",
    shuffled: bool = True,
    table_width: int | None = None,
) -> DecodeInputs:
    """Memory for queries and a paged cache, with the pages of each request; nobody has written values yet.

    `seq_lens` defaults to `shape.context_len` for every request; `table_width` to the pages the longest
    context needs. Padding of the block table names a page of NaN. `shuffled` scatters pages over the cache.

    Raises: ValueError if the lengths or the table width do not fit the shape.
    """
    lengths = _checked_lengths(shape, seq_lens)
    width = shape.pages_per_request if table_width is None else table_width
    if width < shape.pages_per_request:
        raise ValueError(
            f"table_width must hold the context, {shape.pages_per_request} pages, got {width}; widen the table"
        )
    block_table, num_physical_pages = _allocate_pages(shape, lengths, width=width, shuffled=shuffled, seed=seed)
    caches = [_empty_cache(shape, num_physical_pages, layout, dtype, device) for _ in ("k", "v")]
    return DecodeInputs(
        shape=shape,
        layout=layout,
        q=torch.empty((shape.batch, shape.num_q_heads, shape.head_dim), dtype=dtype, device=device),
        cache=PagedCache(
            k_cache=caches[0],
            v_cache=caches[1],
            block_table=block_table.to(device),
            seq_lens=torch.tensor(lengths, dtype=torch.int32, device=device),
        ),
    )


def in_memory_order(cache: torch.Tensor) -> torch.Tensor:
    """A cache of either layout with its dimensions as they lie in memory."""
    return cache if cache.is_contiguous() else cache.transpose(1, 2)


def poison_unused(inputs: DecodeInputs) -> None:
    """Write NaN to spare pages and to the slots past each request's last token."""
    page_size = inputs.shape.page_size
    is_unused = torch.ones(inputs.cache.num_physical_pages, dtype=torch.bool)
    for request, length in enumerate(inputs.seq_lens.tolist()):
        pages = inputs.block_table[request, : num_pages_for(length, page_size)].long().cpu()
        is_unused[pages] = False
        for cache in (inputs.k_cache, inputs.v_cache):
            cache[pages[-1], (length - 1) % page_size + 1 :] = float("nan")
    for cache in (inputs.k_cache, inputs.v_cache):
        cache[is_unused.to(cache.device)] = float("nan")


def reference_dense(inputs: DecodeInputs, *, dtype: torch.dtype) -> Attended:
    """Dense attention in plain torch of this dtype; float64 is the oracle. Needs memory for one request's head."""
    attended = _empty_attended(inputs, dtype)
    dense_reference.paged_decode(
        inputs.q.to(dtype),
        inputs.cache,
        softmax_scale=inputs.shape.head_dim**-0.5,
        num_splits=0,
        out=attended.out,
        lse=attended.lse,
    )
    return attended


def reference_sparse(inputs: DecodeInputs, page_indices: torch.Tensor, *, dtype: torch.dtype) -> Attended:
    """Attention over the pages given in plain torch of this dtype; float64 is the oracle of a sparse kernel."""
    attended = _empty_attended(inputs, dtype)
    block_topk_reference.sparse_paged_decode(
        inputs.q.to(dtype),
        inputs.cache,
        page_indices,
        softmax_scale=inputs.shape.head_dim**-0.5,
        num_splits=0,
        out=attended.out,
        lse=attended.lse,
    )
    return attended


def max_abs_error(actual: torch.Tensor, oracle: torch.Tensor) -> float:
    """The largest absolute difference to the oracle; infinity if any value is NaN or infinite."""
    error = (actual.double() - oracle.double()).abs().max()
    return float(error) if bool(torch.isfinite(error)) else float("inf")


def error_budget(oracle: torch.Tensor, low_precision: torch.Tensor, *, dtype: torch.dtype) -> float:
    """The largest error allowed of a kernel that returns this dtype."""
    band = BAND_ROUNDINGS * torch.finfo(dtype).eps * float(oracle.abs().max())
    return ERROR_FACTOR * max_abs_error(low_precision, oracle) + band


def assert_within_error_budget(
    actual: torch.Tensor, *, oracle: torch.Tensor, low_precision: torch.Tensor, subject: str
) -> float:
    """Assert the error policy for one tensor and return its largest absolute error."""
    assert actual.shape == oracle.shape, f"{subject} has shape {tuple(actual.shape)}, expected {tuple(oracle.shape)}"
    error = max_abs_error(actual, oracle)
    budget = error_budget(oracle, low_precision, dtype=actual.dtype)
    assert error <= budget, f"{subject} errs by {error:.3e} against float64, the budget is {budget:.3e}"
    return error


def assert_dense_correct(out: torch.Tensor, inputs: DecodeInputs, *, lse: torch.Tensor | None = None) -> float:
    """Assert that a dense decode is within its error budget and return the largest absolute error of `out`."""
    oracle = reference_dense(inputs, dtype=torch.float64)
    low_precision = reference_dense(inputs, dtype=inputs.q.dtype)
    error = assert_within_error_budget(out, oracle=oracle.out, low_precision=low_precision.out, subject="out")
    if lse is not None:
        single = reference_dense(inputs, dtype=torch.float32)
        assert_within_error_budget(lse, oracle=oracle.lse, low_precision=single.lse, subject="lse")
    return error


def assert_sparse_correct(
    out: torch.Tensor, inputs: DecodeInputs, page_indices: torch.Tensor, *, lse: torch.Tensor | None = None
) -> float:
    """Assert that attention over these pages is within its error budget and return the error of `out`."""
    oracle = reference_sparse(inputs, page_indices, dtype=torch.float64)
    low_precision = reference_sparse(inputs, page_indices, dtype=inputs.q.dtype)
    error = assert_within_error_budget(out, oracle=oracle.out, low_precision=low_precision.out, subject="out")
    if lse is not None:
        single = reference_sparse(inputs, page_indices, dtype=torch.float32)
        assert_within_error_budget(lse, oracle=oracle.lse, low_precision=single.lse, subject="lse")
    return error


def _checked_lengths(shape: DecodeShape, seq_lens: Sequence[int] | None) -> list[int]:
    lengths = [shape.context_len] * shape.batch if seq_lens is None else list(seq_lens)
    if len(lengths) != shape.batch or not all(1 <= length <= shape.context_len for length in lengths):
        raise ValueError(
            f"seq_lens must be {shape.batch} lengths in 1..{shape.context_len}, got {lengths}; enlarge the shape"
        )
    return lengths


def _allocate_pages(
    shape: DecodeShape, lengths: list[int], *, width: int, shuffled: bool, seed: int
) -> tuple[torch.Tensor, int]:
    """A block table on the host and the size of the pool: one spare page per request on top of those used."""
    num_used = [num_pages_for(length, shape.page_size) for length in lengths]
    num_physical_pages = sum(num_used) + shape.batch
    order = torch.arange(num_physical_pages, dtype=torch.int32)
    if shuffled:
        order = order[torch.randperm(num_physical_pages, generator=torch.Generator().manual_seed(seed))]
    # The last page in this order is never handed out, so the padding of the table points at NaN.
    block_table = torch.full((shape.batch, width), int(order[-1]), dtype=torch.int32)
    for request, pages in enumerate(torch.split(order[: sum(num_used)], num_used)):
        block_table[request, : len(pages)] = pages
    return block_table, num_physical_pages


def _empty_cache(
    shape: DecodeShape, num_physical_pages: int, layout: Layout, dtype: torch.dtype, device: torch.device | str
) -> torch.Tensor:
    """A cache indexed [page, slot, kv_head, dim]; "hnd" keeps a head's slots together in memory."""
    slots, heads = (shape.page_size, shape.num_kv_heads)
    inner = (slots, heads) if layout == "nhd" else (heads, slots)
    memory = torch.empty((num_physical_pages, *inner, shape.head_dim), dtype=dtype, device=device)
    return memory if layout == "nhd" else memory.transpose(1, 2)


def _empty_attended(inputs: DecodeInputs, dtype: torch.dtype) -> Attended:
    out = torch.full_like(inputs.q, float("nan"), dtype=dtype)
    return Attended(out=out, lse=torch.full_like(out[..., 0], float("nan")))
