"""FLOP and bytes of decode attention, counted in integers from shapes.

This is the one byte count of the suite: achieved bandwidth, rooflines and scaling laws are made of these functions.
It counts what an algorithm cannot avoid (each needed byte once); it knows no device, no time and no kernel. Functions
named `*_work` describe one decode step (one new token per sequence) of one layer.

Block tables and sequence lengths are left out on purpose: 4 bytes per page against 4 * page_size * head_dim or more
for the page itself, under 0.1 % from 16 tokens a page on.
"""

from dataclasses import dataclass
from typing import Final

SCORE_BYTES: Final = 4  # page scores are fp32
PAGE_ID_BYTES: Final = 4  # page ids are int32


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Floating-point operations and bytes moved; a multiply-add is 2 FLOP."""

    flop: int
    num_bytes: int

    def __add__(self, other: "Work") -> "Work":
        return Work(flop=self.flop + other.flop, num_bytes=self.num_bytes + other.num_bytes)

    def __mul__(self, times: int) -> "Work":
        return Work(flop=self.flop * times, num_bytes=self.num_bytes * times)

    __rmul__ = __mul__


def attention_flop(num_keys: int, *, num_q_heads: int, head_dim: int) -> int:
    """FLOP of attending `num_keys` keys: 2 for the score and 2 for the value, per query head and dimension."""
    return 4 * num_keys * num_q_heads * head_dim


def kv_bytes(num_keys: int, *, num_kv_heads: int, head_dim: int, element_bytes: int) -> int:
    """Bytes of the keys and values of `num_keys` tokens in every KV head."""
    return 2 * num_keys * num_kv_heads * head_dim * element_bytes


def summary_flop(num_vectors: int, *, num_q_heads: int, head_dim: int) -> int:
    """FLOP of scoring `num_vectors` summary vectors: one dot product per query head.

    A kernel that averages the query over its group first does fewer; the published law charges every head.
    """
    return 2 * num_vectors * num_q_heads * head_dim


def summary_bytes(num_vectors: int, *, num_kv_heads: int, head_dim: int, element_bytes: int) -> int:
    """Bytes of `num_vectors` summary vectors in every KV head."""
    return num_vectors * num_kv_heads * head_dim * element_bytes


def dense_attention_work(
    *, batch: int, context_len: int, num_q_heads: int, num_kv_heads: int, head_dim: int, element_bytes: int
) -> Work:
    """One step of dense decode attention: all keys and values read once, q read, the output written."""
    return sparse_attention_work(
        batch=batch,
        num_keys=context_len,
        num_q_heads=num_q_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        element_bytes=element_bytes,
    )


def sparse_attention_work(
    *, batch: int, num_keys: int, num_q_heads: int, num_kv_heads: int, head_dim: int, element_bytes: int
) -> Work:
    """One step of attention over `num_keys` keys per KV head, already chosen: K and V and q read, output written.

    The scaling law counts the same keys but leaves out q and the output, 2 * num_q_heads * head_dim elements a step.
    """
    _check_shape(batch=batch, num_keys=num_keys, num_kv_heads=num_kv_heads, head_dim=head_dim)
    _check_groups(num_q_heads=num_q_heads, num_kv_heads=num_kv_heads)
    kv = kv_bytes(num_keys, num_kv_heads=num_kv_heads, head_dim=head_dim, element_bytes=element_bytes)
    q_and_out = 2 * num_q_heads * head_dim * element_bytes
    flop = attention_flop(num_keys, num_q_heads=num_q_heads, head_dim=head_dim)
    return batch * Work(flop=flop, num_bytes=kv + q_and_out)


def append_work(
    *,
    batch: int,
    num_kv_heads: int,
    head_dim: int,
    element_bytes: int,
    tokens_in_page: int,
    page_size: int,
    num_summary_vectors: int,
) -> Work:
    """One step of appending a key and a value and refreshing the summary of their page.

    K and V are read and written. The summary is computed anew from the `tokens_in_page` keys of the current page, the
    new one included, and written: `num_summary_vectors` is 0 without summaries, 1 for the mean, 2 for min and max.

    Raises: ValueError if more tokens are in the page than fit.
    """
    _check_shape(batch=batch, num_kv_heads=num_kv_heads, head_dim=head_dim, tokens_in_page=tokens_in_page)
    if tokens_in_page > page_size:
        raise ValueError(f"tokens_in_page must not exceed page_size, got {tokens_in_page=} and {page_size=}")
    vector_bytes = num_kv_heads * head_dim * element_bytes
    # The new key is at hand already: only the others of its page are fetched for the summary.
    summary_reads = tokens_in_page - 1 if num_summary_vectors else 0
    num_vectors = 4 + summary_reads + num_summary_vectors
    flop = num_summary_vectors * tokens_in_page * num_kv_heads * head_dim
    return batch * Work(flop=flop, num_bytes=num_vectors * vector_bytes)


def page_score_work(
    *,
    batch: int,
    num_pages: int,
    num_q_heads: int,
    num_kv_heads: int,
    head_dim: int,
    element_bytes: int,
    num_summary_vectors: int,
) -> Work:
    """One step of scoring `num_pages` pages a sequence: summaries and q read, one fp32 score a KV head written."""
    _check_shape(batch=batch, num_pages=num_pages, num_kv_heads=num_kv_heads, head_dim=head_dim)
    _check_shape(num_summary_vectors=num_summary_vectors)
    _check_groups(num_q_heads=num_q_heads, num_kv_heads=num_kv_heads)
    num_vectors = num_pages * num_summary_vectors
    summaries = summary_bytes(num_vectors, num_kv_heads=num_kv_heads, head_dim=head_dim, element_bytes=element_bytes)
    q = num_q_heads * head_dim * element_bytes
    scores = num_pages * num_kv_heads * SCORE_BYTES
    flop = summary_flop(num_vectors, num_q_heads=num_q_heads, head_dim=head_dim)
    return batch * Work(flop=flop, num_bytes=summaries + q + scores)


def page_select_work(*, batch: int, num_pages: int, num_kept_pages: int, num_kv_heads: int) -> Work:
    """One step of choosing pages: fp32 scores and the block table read, int32 ids of the kept pages written.

    Choosing compares and does no arithmetic: 0 FLOP. Here the block table counts, for it is a third of the traffic
    with one KV head.
    """
    _check_shape(batch=batch, num_pages=num_pages, num_kept_pages=num_kept_pages, num_kv_heads=num_kv_heads)
    scores = num_pages * num_kv_heads * SCORE_BYTES
    table = num_pages * PAGE_ID_BYTES
    kept = min(num_kept_pages, num_pages) * num_kv_heads * PAGE_ID_BYTES
    return batch * Work(flop=0, num_bytes=scores + table + kept)


def block_topk_work(
    *,
    batch: int,
    num_pages: int,
    num_kept_pages: int,
    num_keys: int,
    num_q_heads: int,
    num_kv_heads: int,
    head_dim: int,
    element_bytes: int,
    num_summary_vectors: int,
) -> Work:
    """One step of the whole sparse path: score all pages, select, attend the `num_keys` keys of the kept pages."""
    score = page_score_work(
        batch=batch,
        num_pages=num_pages,
        num_q_heads=num_q_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        element_bytes=element_bytes,
        num_summary_vectors=num_summary_vectors,
    )
    select = page_select_work(
        batch=batch, num_pages=num_pages, num_kept_pages=num_kept_pages, num_kv_heads=num_kv_heads
    )
    attend = sparse_attention_work(
        batch=batch,
        num_keys=num_keys,
        num_q_heads=num_q_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        element_bytes=element_bytes,
    )
    return score + select + attend


def _check_shape(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def _check_groups(*, num_q_heads: int, num_kv_heads: int) -> None:
    if num_q_heads < 1 or num_q_heads % num_kv_heads:
        raise ValueError(
            f"num_kv_heads must divide num_q_heads, got num_q_heads={num_q_heads} and num_kv_heads={num_kv_heads}"
        )
