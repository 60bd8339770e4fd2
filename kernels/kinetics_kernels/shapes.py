"""The nouns of the kernel API: shapes of a decode step, page summaries, page selections.

This file knows sizes and what must hold between them. It knows no tensors: nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SUPPORTED_HEAD_DIMS = (64, 128)
SUPPORTED_PAGE_SIZES = (16, 32, 64, 128, 256)
MAX_GROUP_SIZE = 16


def num_pages_for(context_len: int, page_size: int) -> int:
    """Pages that hold `context_len` tokens, the last one possibly partial."""
    return -(-context_len // page_size)


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
