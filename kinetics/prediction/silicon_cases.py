"""Operations as the fits see them: names, dtypes, variants and columns of shapes, for tables and for models alike.

One vocabulary for both sides: what a row of measurements was and what a layer of a model needs become the same columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kinetics.prediction.silicon_fit import Array
from kinetics.specs.attention_layers import BlockSparseAttention, GroupedQueryAttention
from kinetics.specs.cache_formats import CacheFormat
from kinetics.specs.latent_layers import LatentAttention
from kinetics.specs.weight_formats import WeightFormat

THIN_ROWS = 128
"""Products of more rows are computed by other kernels."""
WIDEST_GROUP = 32
"""Query heads of one KV head beyond which frameworks fall back to other kernels."""
_FLOP_RATES: Mapping[str, float] = {"fp8": 2.0, "fp8_block": 2.0, "nvfp4": 4.0}
_ACTIVATION_BYTES: Mapping[str, float] = {"fp8": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cases:
    """Cases of one operation that share a kernel: `dtype` and `variant` tell kernels apart that a shape does not."""

    operation: str
    dtype: str
    variant: str
    columns: Mapping[str, Array]

    @property
    def num_rows(self) -> int:
        """Cases."""
        return len(next(iter(self.columns.values())))


def attention_cases(
    attention: GroupedQueryAttention,
    cache: CacheFormat,
    *,
    batch: Sequence[float] | Array,
    context_len: Sequence[float] | Array,
) -> Cases:
    """Dense or windowed decode attention of heads as one device has them."""
    batches, contexts = np.asarray(batch, float), np.asarray(context_len, float)
    keys = contexts if attention.window is None else np.minimum(contexts, attention.window)
    # Keys and values of different widths cost like one width between them.
    dim = (attention.head_dim + attention.value_dim) / 2
    columns = {
        "batch": batches, "context_len": contexts, "keys": keys, "q_heads": attention.num_q_heads,
        "kv_heads": attention.num_kv_heads, "head_dim": dim, "element_bytes": cache.vector_bytes(128) / 128,
    }  # fmt: skip
    variant = attention_variant(attention.num_q_heads / attention.num_kv_heads, attention.head_dim, attention.window)
    return Cases(operation="attention", dtype=cache.name, variant=variant, columns=_columns(columns, batches))


def attention_variant(group_size: float, head_dim: float, window: int | None) -> str:
    """The kernel that a shape takes: by group, by head_dim, and by whether a window bounds its keys."""
    kind = "mha" if group_size == 1 else "gqa" if group_size <= WIDEST_GROUP else "wide"
    return f"{kind}-{head_dim:g}{'-window' if window else ''}"


def latent_cases(
    attention: LatentAttention,
    cache: CacheFormat,
    weights: WeightFormat,
    *,
    hidden_size: int,
    batch: Sequence[float] | Array,
    context_len: Sequence[float] | Array,
) -> Cases:
    """A module of latent attention with heads as one device has them, dense or behind an indexer."""
    batches, contexts = np.asarray(batch, float), np.asarray(context_len, float)
    index = attention.indexer
    keys = contexts if index is None else np.minimum(contexts, index.top_tokens)
    heads = attention.num_heads
    columns = {
        "batch": batches, "context_len": contexts, "keys": keys, "heads": heads, "programs": np.ceil(heads / 64),
        "weights": sum(matmul.num_weights for matmul in attention.matmuls(hidden_size)),
        "weight_bytes": weights.bytes_per_weight, "key_bytes": attention.token_bytes(cache),
        "key_flop": heads * 2 * (attention.latent_dim + attention.latent_rank),
        "index_bytes": index.key_bytes if index else 0,
        "searches": contexts > index.top_tokens if index else 0,
    }  # fmt: skip
    variant = "shared index" if index and index.is_shared else ""
    dtype = f"{cache.name}, weights {weights.name}"
    return Cases(operation=attention.kind, dtype=dtype, variant=variant, columns=_columns(columns, batches))


def block_sparse_cases(
    mixer: BlockSparseAttention,
    cache: CacheFormat,
    weights: WeightFormat,
    *,
    hidden_size: int,
    batch: Sequence[float] | Array,
    context_len: Sequence[float] | Array,
) -> Cases:
    """A module of block-sparse attention with heads as one device has them."""
    batches, contexts = np.asarray(batch, float), np.asarray(context_len, float)
    attention, kept = mixer.attention, mixer.block_size * mixer.top_blocks
    columns = {
        "batch": batches, "context_len": contexts, "keys": np.minimum(contexts, kept), "heads": attention.num_q_heads,
        "programs": attention.num_kv_heads,
        "weights": sum(matmul.num_weights for matmul in mixer.matmuls(hidden_size)),
        "weight_bytes": weights.bytes_per_weight,
        "key_bytes": 2 * attention.num_kv_heads * cache.vector_bytes(attention.head_dim),
        "key_flop": 4 * attention.num_q_heads * attention.head_dim,
        "index_bytes": mixer.index_key_bytes(cache), "searches": contexts > kept,
    }  # fmt: skip
    dtype = f"{cache.name}, weights {weights.name}"
    return Cases(operation="msa", dtype=dtype, variant="", columns=_columns(columns, batches))


def matmul_cases(
    weights: WeightFormat,
    *,
    rows: Sequence[float] | Array,
    inputs: Sequence[float] | Array,
    outputs: Sequence[float] | Array,
    is_thin: bool,
) -> Cases:
    """Matrix products, all of few rows or all of many."""
    columns = {
        "rows": rows, "inputs": inputs, "outputs": outputs, "weight_bytes": weights.bytes_per_weight,
        "activation_bytes": _ACTIVATION_BYTES.get(weights.name, 2.0), "flop_rate": _FLOP_RATES.get(weights.name, 1.0),
    }  # fmt: skip
    variant = "thin" if is_thin else "thick"
    return Cases(
        operation="matmul", dtype=weights.name, variant=variant, columns=_columns(columns, np.asarray(rows, float))
    )


def experts_cases(
    weights: WeightFormat,
    *,
    rows: Sequence[float] | Array,
    hidden: float | Array,
    width: float | Array,
    experts: float | Array,
    experts_per_token: float | Array,
    expert_groups: float | Array = 1,
    is_gated: bool = True,
    routing: str = "balanced",
) -> Cases:
    """Routed experts on one device of `expert_groups` that share them; `width` as the device has it.

    Balanced routing visits as many experts as it can; skewed routing about as many as uniform choice does.
    """
    tokens = np.asarray(rows, float)
    total, chosen, groups = (np.asarray(value, float) for value in (experts, experts_per_token, expert_groups))
    here, pairs = total / groups, tokens * chosen / groups
    uniform = here * (1.0 - (1.0 - chosen / total) ** tokens)
    visited = np.minimum(here, pairs) if routing == "balanced" else uniform
    columns = {
        "rows": tokens, "hidden": hidden, "width": width, "experts": here, "pairs": pairs, "visited": visited,
        "weight_bytes": weights.bytes_per_weight, "flop_rate": _FLOP_RATES.get(weights.name, 1.0),
        "matrices": 3 if is_gated else 2,
    }  # fmt: skip
    variant = routing if is_gated else f"{routing}, no gate"
    return Cases(operation="experts", dtype=weights.name, variant=variant, columns=_columns(columns, tokens))


def state_cases(
    operation: str,
    part: str,
    *,
    batch: Sequence[float] | Array,
    heads: float | Array,
    state_bytes: float | Array,
) -> Cases:
    """A recurrent step (`part` recurrence) or its short convolution (`convolution`); bytes read and written."""
    batches = np.asarray(batch, float)
    columns = {"batch": batches, "heads": heads, "state_bytes": state_bytes}
    return Cases(operation=operation, dtype="fp32", variant=part, columns=_columns(columns, batches))


def all_reduce_cases(*, message_bytes: Sequence[float] | Array, devices: Sequence[float] | Array) -> Cases:
    """Sums over devices of one node."""
    sizes = np.asarray(message_bytes, float)
    columns = {"message_bytes": sizes, "devices": devices}
    return Cases(operation="all_reduce", dtype="bf16", variant="", columns=_columns(columns, sizes))


def _columns(values: Mapping[str, float | Array | Sequence[float]], like: Array) -> dict[str, Array]:
    """Every value as a float column as long as the cases."""
    return {name: np.broadcast_to(np.asarray(value, float), like.shape).copy() for name, value in values.items()}
