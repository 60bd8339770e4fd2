"""What the two sides of a pair cannot avoid: bytes of weights, attended keys and index keys, FLOP of the attention."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from kinetics.cost.kernels import Work
from kinetics.prediction.silicon_cases import Cases, block_sparse_cases, latent_cases
from kinetics.results.silicon_pairs import hidden_size_of, mixer_of
from kinetics.results.sparse_silicon import PairKind, SparsePair
from kinetics.specs.attention_layers import BlockSparseAttention
from kinetics.specs.cache_formats import find_cache_format
from kinetics.specs.latent_layers import LatentAttention
from kinetics.specs.weight_formats import find_weight_format


def pair_work(pair: SparsePair) -> Iterator[tuple[Work, Work]]:
    """(dense, sparse) of each cell, in their order; projections and index, in formats of their own, add no FLOP."""
    dense, sparse = (_works(cases) for cases in _sides(pair))
    yield from zip(dense, sparse, strict=True)


def _sides(pair: SparsePair) -> tuple[Cases, Cases]:
    hidden_size, weights = hidden_size_of(pair.kind), find_weight_format(pair.weights)
    asked: dict[str, Any] = {
        "hidden_size": hidden_size,
        "batch": [cell.batch for cell in pair.cells],
        "context_len": [cell.context_len for cell in pair.cells],
    }
    mixer, cache = mixer_of(pair.kind, pair.kind.value), find_cache_format("bf16")
    if isinstance(mixer, LatentAttention):
        dense = latent_cases(replace(mixer, indexer=None), cache, weights, **asked)
        return dense, latent_cases(mixer, cache, weights, **asked)
    assert isinstance(mixer, BlockSparseAttention)
    assert pair.kind is PairKind.MSA
    sparse = block_sparse_cases(mixer, cache, weights, **asked)
    projections = sum(matmul.num_weights for matmul in mixer.attention.matmuls(hidden_size))
    columns = sparse.columns
    whole = {"keys": columns["context_len"], "searches": 0 * columns["searches"], "weights": 0 * columns["weights"]}
    return replace(sparse, columns={**columns, **whole, "weights": whole["weights"] + projections}), sparse


def _works(cases: Cases) -> list[Work]:
    """Work of each case."""
    shape = cases.columns
    read = shape["keys"] * shape["key_bytes"] + shape["searches"] * shape["context_len"] * shape["index_bytes"]
    num_bytes = shape["batch"] * read + shape["weights"] * shape["weight_bytes"]
    flop = shape["batch"] * shape["keys"] * shape["key_flop"]
    return [
        Work(num_bytes=round(one), flop=round(other))
        for one, other in zip(num_bytes.tolist(), flop.tolist(), strict=True)
    ]
