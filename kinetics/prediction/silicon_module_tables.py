"""Rows of attention modules: latent attention, dense or behind an indexer, and block-sparse attention.

A table names the model that was measured; its shapes come from the known models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from kinetics.prediction.silicon_cases import Cases, block_sparse_cases, latent_cases
from kinetics.prediction.silicon_package import WEIGHT_FORMATS, Rows, column, seconds_of
from kinetics.specs.attention_layers import BlockSparseAttention
from kinetics.specs.cache_formats import find_cache_format
from kinetics.specs.known_models import find_architecture
from kinetics.specs.latent_layers import LatentAttention
from kinetics.specs.weight_formats import find_weight_format

if TYPE_CHECKING:
    import pandas as pd

LEAST_MODULE_CONTEXT: Final = 128


def read_latent(table: pd.DataFrame) -> Rows:
    """Rows of one kernel, of all models and head counts together, those of an index of another layer apart."""
    table = table.assign(context_len=table["isl"] + table["step"])
    table = table[table["context_len"] >= LEAST_MODULE_CONTEXT]
    table["shares"] = table["kernel_source"].str.contains("skip_indexer")
    for key, rows in table.groupby(["kernel_source", "shares", "kv_cache_dtype", "gemm_type"]):
        if key[3] not in WEIGHT_FORMATS:
            continue
        cases, seconds = [], []
        for (model, heads), some in rows.groupby(["model", "num_heads"]):
            found = find_latent(str(model), shares=bool(key[1]))
            if found is not None:
                some = some.sort_values(["batch_size", "context_len"])
                mixer, hidden_size = found
                weights = find_weight_format(WEIGHT_FORMATS[key[3]])
                mixer = replace(mixer, num_heads=int(str(heads)))
                cases.append(
                    latent_cases(
                        mixer,
                        find_cache_format(str(key[2])),
                        weights,
                        hidden_size=hidden_size,
                        batch=column(some, "batch_size"),
                        context_len=column(some, "context_len"),
                    )
                )
                seconds.append(seconds_of(some))
        if cases:
            yield str(key[0]), _joined(cases), np.concatenate(seconds)


def find_latent(name: str, *, shares: bool) -> tuple[LatentAttention, int] | None:
    """The latent attention of a model by its name in a table, and the hidden size; None if it is not known."""
    plain = name.rsplit("/", maxsplit=1)[-1].removesuffix("-NVFP4").removesuffix("-FP8")
    try:
        architecture = find_architecture(plain)
    except ValueError:
        return None
    mixers = [mixer for _, mixer in architecture.mixers() if isinstance(mixer, LatentAttention)]
    wanted = [mixer for mixer in mixers if (mixer.indexer is not None and mixer.indexer.is_shared) == shares]
    return (wanted[0], architecture.hidden_size) if wanted else None


def read_msa(table: pd.DataFrame) -> Rows:
    """Rows of one kernel, of all head counts together."""
    table = table.assign(context_len=table["isl"] + table["step"])
    table = table[table["context_len"] >= LEAST_MODULE_CONTEXT]
    architecture = find_architecture("MiniMax-M3")
    mixer = next(mixer for _, mixer in architecture.mixers() if isinstance(mixer, BlockSparseAttention))
    for key, rows in table.groupby(["kernel_source", "kv_cache_dtype", "gemm_type"]):
        if key[2] not in WEIGHT_FORMATS:
            continue
        cases, seconds = [], []
        for heads, some in rows.groupby("num_heads"):
            some = some.sort_values(["batch_size", "context_len"])
            cases.append(
                block_sparse_cases(
                    _with_heads(mixer, int(str(heads))),
                    find_cache_format(str(key[1])),
                    find_weight_format(WEIGHT_FORMATS[key[2]]),
                    hidden_size=architecture.hidden_size,
                    batch=column(some, "batch_size"),
                    context_len=column(some, "context_len"),
                )
            )
            seconds.append(seconds_of(some))
        yield str(key[0]), _joined(cases), np.concatenate(seconds)


def _with_heads(mixer: BlockSparseAttention, num_q_heads: int) -> BlockSparseAttention:
    """The same attention with other query heads: groups of the same size, an index head for each KV head."""
    num_kv_heads = max(1, num_q_heads * mixer.attention.num_kv_heads // mixer.attention.num_q_heads)
    attention = replace(mixer.attention, num_q_heads=num_q_heads, num_kv_heads=num_kv_heads)
    return replace(mixer, attention=attention, num_index_heads=min(mixer.num_index_heads, num_kv_heads))


def _joined(cases: Sequence[Cases]) -> Cases:
    """Cases of one kernel, one after another."""
    columns = {name: np.concatenate([one.columns[name] for one in cases]) for name in cases[0].columns}
    return replace(cases[0], columns=columns)
