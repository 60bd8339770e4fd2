"""How much work a kernel case is: FLOP and bytes that it cannot avoid, and its dependent launches."""

from __future__ import annotations

from kinetics.cases.kernels import Case, Cell, Operation
from kinetics.cost import kernels as cost
from kinetics.cost.kernels import Work
from kinetics.specs.dtypes import element_bytes
from kinetics_kernels.shapes import DecodeShape

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


def work_of(case: Case) -> Work:
    """FLOP and bytes that the case cannot avoid."""
    shape, size = shape_of(case.cell), element_bytes(case.cell.dtype)
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
