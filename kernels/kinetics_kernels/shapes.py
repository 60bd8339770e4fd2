"""The nouns of the kernel API: shapes of a decode step, paged caches, page summaries, page selections.

This file knows sizes and what must hold between them. It carries tensors and computes with none: nothing here imports
torch. A unit of the cache is called a page, a unit of selection a block; here every block is a page.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    import torch

Count = TypeVar("Count")
"""A number, or an array or tensor of them."""

SUPPORTED_HEAD_DIMS = (64, 128)
SUPPORTED_PAGE_SIZES = (16, 32, 64, 128, 256)
MAX_GROUP_SIZE = 16


Layout = Literal["nhd", "hnd"]
"""How a page lies in memory: slot after slot, or head after head."""


def num_pages_for(context_len: Count, page_size: int) -> Count:
    """Pages that hold `context_len` tokens, the last one possibly partial; of each element of an array or tensor."""
    return -(-context_len // page_size)  # type: ignore[operator, no-any-return]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeShape:
    """Sizes of one decode attention call: one new token per request, the same context for each."""

    batch: int
    context_len: int
    num_q_heads: int
    num_kv_heads: int
    head_dim: int
    page_size: int

    def __post_init__(self) -> None:
        for name in ("batch", "context_len", "num_q_heads", "num_kv_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.num_q_heads % self.num_kv_heads:
            raise ValueError(
                f"num_kv_heads must divide num_q_heads, got {self.num_q_heads} query and {self.num_kv_heads} KV heads"
            )
        if self.group_size > MAX_GROUP_SIZE:
            raise ValueError(f"group_size must be at most {MAX_GROUP_SIZE}, got {self.group_size}")
        if self.head_dim not in SUPPORTED_HEAD_DIMS:
            raise ValueError(f"head_dim must be one of {SUPPORTED_HEAD_DIMS}, got {self.head_dim}")
        if self.page_size not in SUPPORTED_PAGE_SIZES:
            raise ValueError(f"page_size must be one of {SUPPORTED_PAGE_SIZES}, got {self.page_size}")

    @property
    def group_size(self) -> int:
        """Query heads that share one KV head (the GQA group)."""
        return self.num_q_heads // self.num_kv_heads

    @property
    def pages_per_request(self) -> int:
        """Pages of one request, the last one possibly partial."""
        return num_pages_for(self.context_len, self.page_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class PagedCache:
    """Keys and values in pages, and which pages each request has.

    `k_cache`, `v_cache`: [num_physical_pages, page_size, num_kv_heads, head_dim] with any strides, so NHD and HND are
    one code path. `block_table`: int32 [batch, max_pages] of physical page ids; entries past a request's last page are
    never read. `seq_lens`: int32 [batch], counting the token being decoded.

    A cache of 8-bit floats (float8_e4m3fn) has scales, `k_scale` and `v_scale`: float32 [num_physical_pages,
    num_kv_heads], powers of two; a key is what is stored times the scale of its page and head.
    """

    k_cache: torch.Tensor
    v_cache: torch.Tensor
    block_table: torch.Tensor
    seq_lens: torch.Tensor
    k_scale: torch.Tensor | None = None
    v_scale: torch.Tensor | None = None

    @property
    def is_narrow(self) -> bool:
        """Whether keys and values are stored in 8 bits, with scales."""
        return self.k_scale is not None

    @property
    def num_physical_pages(self) -> int:
        """Pages in memory, whoever uses them."""
        return self.k_cache.shape[0]

    @property
    def page_size(self) -> int:
        """Tokens of one page."""
        return self.k_cache.shape[1]

    @property
    def num_kv_heads(self) -> int:
        """Heads of keys and values."""
        return self.k_cache.shape[2]

    @property
    def head_dim(self) -> int:
        """Elements of one key."""
        return self.k_cache.shape[3]

    @property
    def max_pages(self) -> int:
        """Pages that the block table has room for, per request."""
        return self.block_table.shape[1]


class PageSummaryKind(Enum):
    """How a page of keys is summarised for scoring."""

    MEAN = "mean"
    """The mean key: the paper's block top-k."""
    MIN_MAX = "min_max"
    """Elementwise minimum and maximum: an upper bound on q.k within the page (Quest)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSummary:
    """Per-page key summaries, indexed by physical page.

    `values`: [num_physical_pages, num_kv_heads, head_dim] for MEAN,
    [num_physical_pages, 2, num_kv_heads, head_dim] (minimum, then maximum) for MIN_MAX.
    """

    kind: PageSummaryKind
    values: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSelection:
    """How many pages a request keeps per KV head, and which of them are kept whatever their score.

    `num_pages` is the total. The first `num_sink_pages`, the `num_local_pages` before the current page, and
    the current page itself are always among them.
    """

    num_pages: int
    num_sink_pages: int
    num_local_pages: int

    def __post_init__(self) -> None:
        if self.num_sink_pages < 0 or self.num_local_pages < 0:
            raise ValueError(
                "num_sink_pages and num_local_pages must not be negative, "
                f"got {self.num_sink_pages} and {self.num_local_pages}"
            )
        if self.num_pages < self.num_forced_pages:
            raise ValueError(
                f"num_pages must hold the sink, local and current pages ({self.num_forced_pages}), "
                f"got num_pages={self.num_pages}"
            )

    @property
    def num_forced_pages(self) -> int:
        """Pages kept whatever their score: sink, local and the current one."""
        return self.num_sink_pages + self.num_local_pages + 1
