"""Rows of the three parts of DSA, measured alone: scores of the index, choice of the top tokens, sparse attention.

The tables hold steps of many new tokens a request as well; only decoding, one new token, is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

from kinetics.prediction.silicon_cases import Cases
from kinetics.prediction.silicon_module_tables import find_latent
from kinetics.prediction.silicon_package import Rows, column, seconds_of
from kinetics.specs.cache_formats import find_cache_format
from kinetics.specs.latent_layers import LatentAttention

if TYPE_CHECKING:
    import pandas as pd

PARTS: Final = ("dsa_index", "dsa_choice", "dsa_attention")
_SCORE_BYTES: Final = 4
_TILE_ROWS: Final = 128
"""Rows of a tile of scores: the index heads of a few requests."""


def read_part(part: str) -> Callable[[pd.DataFrame], Rows]:
    """The reader of one part's table."""

    def read(table: pd.DataFrame) -> Rows:
        table = table[table["isl"] == 1]
        modes = ["score_mode"] if "score_mode" in table else []
        for key, rows in table.groupby(["kernel_source", "kv_cache_dtype", "model", *modes]):
            name, cache, model, *mode = (str(value) for value in key)
            found = find_latent(model, shares=False)
            if found is not None:
                rows = rows.sort_values(["batch_size", "step"])
                yield name, _part_cases(part, found[0], cache, rows, variant="".join(mode)), seconds_of(rows)

    return read


def _part_cases(part: str, attention: LatentAttention, cache: str, rows: pd.DataFrame, *, variant: str) -> Cases:
    """What each request walks: every key of the index, every score, or the keys that were chosen."""
    contexts, index = column(rows, "isl") + column(rows, "step"), attention.indexer
    if index is None:
        raise ValueError(f"{part} must be of an indexed attention, got {attention.kind}")
    format_ = find_cache_format(cache)
    key_bytes = {
        "dsa_index": index.key_bytes, "dsa_choice": _SCORE_BYTES, "dsa_attention": attention.token_bytes(format_),
    }[part]  # fmt: skip
    requests = _TILE_ROWS // index.num_heads if part == "dsa_index" else 1
    batches = column(rows, "batch_size")
    # A tile of several requests walks the keys of each of them.
    keys = np.minimum(batches, requests) * contexts
    if part == "dsa_attention":
        keys = np.minimum(contexts, index.top_tokens)
    columns = {
        "batch": batches, "context_len": contexts, "keys": keys,
        "key_bytes": np.full(len(rows), float(key_bytes)), "programs": np.ceil(batches / requests),
    }  # fmt: skip
    return Cases(operation=part, dtype=format_.name, variant=variant, columns=columns)
