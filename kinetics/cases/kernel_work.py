"""How much work a kernel case is: FLOP and bytes that it cannot avoid, and its dependent launches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kinetics.cases.kernels import Case, Cell, Operation, PageOperation
from kinetics.cost import kernels as cost
from kinetics.cost.kernels import Work
from kinetics.specs.dtypes import element_bytes
from kinetics.specs.pages import num_kept_keys, tokens_in_last_page
from kinetics.specs.policies import PolicyKind

NUM_LAUNCHES: Final[Mapping[Operation, int]] = {
    PolicyKind.DENSE: 2,
    PolicyKind.BLOCK_TOPK: 4,
    PageOperation.APPEND: 1,
    PageOperation.SCORE: 1,
    PageOperation.SELECT: 1,
    PageOperation.SEARCH: 3,
}
"""Dependent launches of the plain algorithm: split decode and merge; score, select, split decode and merge; ..."""

_NUM_SUMMARY_VECTORS = 1  # the mean


def work_of(case: Case) -> Work:
    """FLOP and bytes that the case cannot avoid."""
    cell, size = case.cell, element_bytes(case.cell.dtype)
    heads = {
        "batch": cell.batch,
        "num_q_heads": cell.model.num_q_heads,
        "num_kv_heads": cell.model.num_kv_heads,
        "head_dim": cell.model.head_dim,
        "element_bytes": size,
    }
    pages = {"num_pages": cell.num_pages, "num_summary_vectors": _NUM_SUMMARY_VECTORS}
    match case.operation:
        case PolicyKind.BLOCK_TOPK:
            kept = case.num_kept_pages
            keys = num_kept_keys(cell.context_len, cell.page_size, num_kept_pages=kept)
            return cost.block_topk_work(num_kept_pages=kept, num_keys=keys, **heads, **pages)
        case PageOperation.APPEND:
            return _append_work(cell, size)
        case PageOperation.SCORE:
            return cost.page_score_work(**heads, **pages)
        case PageOperation.SELECT:
            return _select_work(case)
        case PageOperation.SEARCH:
            return _append_work(cell, size) + cost.page_score_work(**heads, **pages) + _select_work(case)
        case _:
            return cost.dense_attention_work(context_len=cell.context_len, **heads)


def _append_work(cell: Cell, size: int) -> Work:
    return cost.append_work(
        batch=cell.batch,
        num_kv_heads=cell.model.num_kv_heads,
        head_dim=cell.model.head_dim,
        element_bytes=size,
        tokens_in_page=tokens_in_last_page(cell.context_len, cell.page_size),
        page_size=cell.page_size,
        num_summary_vectors=_NUM_SUMMARY_VECTORS,
    )


def _select_work(case: Case) -> Work:
    return cost.page_select_work(
        batch=case.cell.batch,
        num_pages=case.cell.num_pages,
        num_kept_pages=case.num_kept_pages,
        num_kv_heads=case.cell.model.num_kv_heads,
    )
