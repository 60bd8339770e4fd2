"""Mixers of grouped-query attention: full, of a sliding window, and block-sparse behind an index of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from kinetics.specs.cache_formats import CacheFormat
from kinetics.specs.layers import Matmul, check_positive, split_evenly


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedQueryAttention:
    """Full or sliding-window attention whose query heads share KV heads in groups.

    `window`: tokens attended at most; None is all. `value_dim` is head_dim where a config states no other.
    `has_value_projection` is False where values are made of the keys' projection. `norm_elements`: of q/k norms.
    """

    num_q_heads: int
    num_kv_heads: int
    head_dim: int
    value_dim: int
    window: int | None = None
    has_sinks: bool = False
    has_qkv_bias: bool = False
    has_output_bias: bool = False
    has_output_gate: bool = False
    has_value_projection: bool = True
    norm_elements: int = 0

    def __post_init__(self) -> None:
        check_positive(
            num_q_heads=self.num_q_heads,
            num_kv_heads=self.num_kv_heads,
            head_dim=self.head_dim,
            value_dim=self.value_dim,
            window=1 if self.window is None else self.window,
        )
        if self.num_q_heads % self.num_kv_heads:
            raise ValueError(
                "num_kv_heads must divide num_q_heads, "
                f"got num_q_heads={self.num_q_heads} and num_kv_heads={self.num_kv_heads}"
            )

    @property
    def kind(self) -> str:
        """`gqa`, or `sliding_window`."""
        return "gqa" if self.window is None else "sliding_window"

    def num_keys(self, context_len: int) -> int:
        """Keys attended in the step that sees `context_len` keys."""
        return context_len if self.window is None else min(context_len, self.window)

    def heads_per_device(self, num_devices: int) -> tuple[int, int]:
        """(query heads, KV heads) of one device; more devices than KV heads keep copies.

        Raises: ValueError if the devices do not divide the query heads, or neither divides the other of the KV heads.
        """
        return split_evenly(self.num_q_heads, num_devices, "query heads"), _split_kv_heads(
            self.num_kv_heads, num_devices
        )

    def matmuls(self, hidden_size: int, num_devices: int = 1) -> tuple[Matmul, ...]:
        """Fused query, key and value projection, and the output's."""
        q_heads, kv_heads = self.heads_per_device(num_devices)
        num_queries = q_heads * self.head_dim * (2 if self.has_output_gate else 1)
        num_keys = kv_heads * (self.head_dim + (self.value_dim if self.has_value_projection else 0))
        return (
            Matmul(name="qkv", num_inputs=hidden_size, num_outputs=num_queries + num_keys),
            Matmul(name="output", num_inputs=q_heads * self.value_dim, num_outputs=hidden_size),
        )

    def num_vector_parameters(self, hidden_size: int) -> int:
        """Biases, norms of queries and keys, sinks."""
        qkv, _ = self.matmuls(hidden_size)
        return (
            (qkv.num_outputs if self.has_qkv_bias else 0)
            + (hidden_size if self.has_output_bias else 0)
            + (self.num_q_heads if self.has_sinks else 0)
            + self.norm_elements
        )

    def cache_bytes(self, context_len: int, cache: CacheFormat, num_devices: int = 1) -> int:
        """Keys and values of every token, or of the window's."""
        _, kv_heads = self.heads_per_device(num_devices)
        one_head = cache.vector_bytes(self.head_dim) + cache.vector_bytes(self.value_dim)
        return self.num_keys(context_len) * kv_heads * one_head


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSparseAttention:
    """Grouped-query attention that keeps `top_blocks` blocks of `block_size` keys, found by an index of its own (MSA).

    The index has `num_index_heads` query heads and one key of `index_dim` a token; the last `num_local_blocks` and the
    first `num_sink_blocks` are among those kept.
    """

    attention: GroupedQueryAttention
    block_size: int
    top_blocks: int
    num_index_heads: int
    index_dim: int

    kind: ClassVar[str] = "msa"

    def __post_init__(self) -> None:
        check_positive(
            block_size=self.block_size,
            top_blocks=self.top_blocks,
            num_index_heads=self.num_index_heads,
            index_dim=self.index_dim,
        )

    def num_keys(self, context_len: int) -> int:
        """Keys attended in the step that sees `context_len` keys: the last block kept may be partial."""
        return min(context_len, self.block_size * self.top_blocks)

    def matmuls(self, hidden_size: int, num_devices: int = 1) -> tuple[Matmul, ...]:
        """Those of the attention, and the index's queries and key."""
        index_heads = _split_kv_heads(self.num_index_heads, num_devices)
        index = Matmul(name="index", num_inputs=hidden_size, num_outputs=(index_heads + 1) * self.index_dim)
        return (*self.attention.matmuls(hidden_size, num_devices), index)

    def num_vector_parameters(self, hidden_size: int) -> int:
        """Those of the attention, and the norms of the index's queries and key."""
        return self.attention.num_vector_parameters(hidden_size) + 2 * self.index_dim

    def index_key_bytes(self, cache: CacheFormat) -> int:
        """Of one token: kept like the keys."""
        return cache.vector_bytes(self.index_dim)

    def cache_bytes(self, context_len: int, cache: CacheFormat, num_devices: int = 1) -> int:
        """Keys, values and index keys of every token; each device keeps the index keys whole."""
        kept = self.attention.cache_bytes(context_len, cache, num_devices)
        return kept + context_len * self.index_key_bytes(cache)


def _split_kv_heads(num_heads: int, num_devices: int) -> int:
    if num_devices % num_heads and num_heads % num_devices:
        raise ValueError(f"the number of devices must divide {num_heads} KV heads or be a multiple, got {num_devices}")
    return max(1, num_heads // num_devices)
