"""Mixers of multi-head latent attention (MLA), dense or behind an indexer (DSA)."""

from __future__ import annotations

from dataclasses import dataclass

from kinetics.specs.cache_formats import CacheFormat
from kinetics.specs.layers import Matmul, check_positive, split_evenly

INDEX_KEY_SCALE_BYTES = 4
"""An fp8 index key carries one fp32 scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexer:
    """DSA's index: `num_heads` query heads against one fp8 key of `head_dim` a token pick `top_tokens` keys.

    `is_shared` where a layer attends the keys that an earlier layer's index picked: it has no weights and no keys.
    """

    num_heads: int
    head_dim: int
    top_tokens: int
    is_shared: bool = False

    def __post_init__(self) -> None:
        check_positive(num_heads=self.num_heads, head_dim=self.head_dim, top_tokens=self.top_tokens)

    @property
    def key_bytes(self) -> int:
        """Of one token: fp8 and one fp32 scale."""
        return 0 if self.is_shared else self.head_dim + INDEX_KEY_SCALE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention:
    """Multi-head latent attention (MLA): all heads read one latent of `latent_rank` and one rotary key a token.

    In decoding the projections from the latent are absorbed into queries and outputs, head by head. With an `indexer`
    (DSA) only the keys it picks are read. `query_rank` is None where queries are projected in one go.
    """

    num_heads: int
    latent_rank: int
    rotary_dim: int
    nope_dim: int
    value_dim: int
    query_rank: int | None
    has_output_gate: bool = False
    indexer: Indexer | None = None

    def __post_init__(self) -> None:
        check_positive(
            num_heads=self.num_heads,
            latent_rank=self.latent_rank,
            rotary_dim=self.rotary_dim,
            nope_dim=self.nope_dim,
            value_dim=self.value_dim,
            query_rank=1 if self.query_rank is None else self.query_rank,
        )

    @property
    def kind(self) -> str:
        """`mla`, or `dsa` with an indexer."""
        return "mla" if self.indexer is None else "dsa"

    @property
    def latent_dim(self) -> int:
        """What a token leaves in the cache, in elements: latent and rotary key."""
        return self.latent_rank + self.rotary_dim

    def num_keys(self, context_len: int) -> int:
        """Keys attended in the step that sees `context_len` keys."""
        return context_len if self.indexer is None else min(context_len, self.indexer.top_tokens)

    def heads_per_device(self, num_devices: int) -> int:
        """Query heads of one device.

        Raises: ValueError if the devices do not divide them.
        """
        return split_evenly(self.num_heads, num_devices, "query heads")

    def matmuls(self, hidden_size: int, num_devices: int = 1) -> tuple[Matmul, ...]:
        """Down-projections (whole on each device), queries, the absorbed ones per head, output, indexer."""
        heads = self.heads_per_device(num_devices)
        num_queries = heads * (self.nope_dim + self.rotary_dim)
        if self.query_rank is None:
            queries = [
                Matmul(name="query", num_inputs=hidden_size, num_outputs=num_queries),
                Matmul(name="latent", num_inputs=hidden_size, num_outputs=self.latent_dim),
            ]
        else:
            down = self.query_rank + self.latent_dim
            queries = [
                Matmul(name="query_latent", num_inputs=hidden_size, num_outputs=down),
                Matmul(name="query", num_inputs=self.query_rank, num_outputs=num_queries),
            ]
        rank, num_values = self.latent_rank, heads * self.value_dim
        absorbed = [
            Matmul(name="absorbed_key", num_inputs=self.nope_dim, num_outputs=rank, num_matrices=heads),
            Matmul(name="absorbed_value", num_inputs=rank, num_outputs=self.value_dim, num_matrices=heads),
        ]
        gate = [Matmul(name="gate", num_inputs=hidden_size, num_outputs=num_values)] if self.has_output_gate else []
        output = Matmul(name="output", num_inputs=num_values, num_outputs=hidden_size)
        return (*queries, *absorbed, *gate, output, *self._index_matmuls(hidden_size))

    def _index_matmuls(self, hidden_size: int) -> tuple[Matmul, ...]:
        """The indexer's queries, key and head weights, whole on each device."""
        index = self.indexer
        if index is None or index.is_shared:
            return ()
        inputs = self.query_rank or hidden_size
        return (
            Matmul(name="index_query", num_inputs=inputs, num_outputs=index.num_heads * index.head_dim),
            Matmul(name="index_key", num_inputs=hidden_size, num_outputs=index.head_dim),
            Matmul(name="index_weights", num_inputs=hidden_size, num_outputs=index.num_heads),
        )

    def num_vector_parameters(self, hidden_size: int) -> int:
        """Norms of the latents, and weight and bias of the index key's."""
        index = 2 * self.indexer.head_dim if self.indexer and not self.indexer.is_shared else 0
        return (self.query_rank or 0) + self.latent_rank + index

    def token_bytes(self, cache: CacheFormat) -> int:
        """Of one token, index key apart. DSA keeps fp8 latents with scales of 128 beside a bf16 rotary key."""
        if self.indexer is not None and cache.is_fp8:
            return self.latent_rank + 4 * (self.latent_rank // 128) + 2 * self.rotary_dim
        return cache.vector_bytes(self.latent_dim)

    def cache_bytes(self, context_len: int, cache: CacheFormat, num_devices: int = 1) -> int:
        """Latents, rotary keys and index keys of every token, whole on each device."""
        index_bytes = self.indexer.key_bytes if self.indexer else 0
        return context_len * (self.token_bytes(cache) + index_bytes)
