"""Pairs of dense and sparse modules read from the package's tables, and what fits of short contexts predict there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from kinetics.prediction.silicon import time_cases
from kinetics.prediction.silicon_cases import THIN_ROWS, Cases, matmul_cases
from kinetics.prediction.silicon_fit import Array
from kinetics.prediction.silicon_fits import device_of, predict_unseen, version_key
from kinetics.prediction.silicon_package import Measured, published_source
from kinetics.prediction.silicon_tables import read_measured
from kinetics.results.sparse_silicon import Cell, PairKind, SparsePair
from kinetics.specs.attention_layers import BlockSparseAttention
from kinetics.specs.hardware import Accelerator
from kinetics.specs.known_models import find_architecture
from kinetics.specs.latent_layers import LatentAttention
from kinetics.specs.layers import Mixer
from kinetics.specs.weight_formats import find_weight_format

SHORTEST: Final = 512
"""Shorter contexts are left out: everything is kept there."""
LONGEST_FITTED: Final = 16_384
_WEIGHTS: Final = ("nvfp4", "fp8_block", "bf16")
"""Of those that were measured the one of fewest bytes: what each device would serve such a model in."""
_CACHE: Final = "bf16"
_TABLES: Final = {PairKind.DSA: ("mla", "dsa"), PairKind.MSA: ("attention", "msa")}


def measured_pairs(
    folder: Path, kind: PairKind, *, systems: Sequence[str], frameworks: Sequence[str], longest_fitted: int
) -> Iterator[SparsePair]:
    """Every pair of a kind that the tables hold, beside what fits to contexts up to `longest_fitted` predict.

    Raises: DataFileError naming a table that lacks a column; ValueError if too few rows are left to fit.
    """
    only = {"num_heads": kind.heads}
    dense, sparse = (
        dict(_of_shape(kind, read_measured(folder, table, systems=systems, frameworks=frameworks, only=only)))
        for table in _TABLES[kind]
    )
    for key in _best_keys(dense, sparse):
        other = dense.get(key) or _any_version(dense, key)
        if other is not None:
            yield _pair(kind, sparse[key], other, key[3], longest_fitted)


_Key = tuple[str, str, str, str]
"""System, framework, version, and weights of the projections; dense attention of a table of its own has none."""


def _of_shape(kind: PairKind, groups: Iterator[Measured]) -> Iterator[tuple[_Key, Measured]]:
    """Rows of the one shape that is compared, the group of a key that has most of them last."""
    found = []
    for group in groups:
        cache, _, weights = group.cases.dtype.partition(", weights ")
        if cache == _CACHE and (weights in _WEIGHTS or not weights):
            rows = group.take(np.flatnonzero(_is_shape(kind, group.cases)))
            if len(rows.seconds):
                kernel = group.kernel
                found.append(((kernel.system, kernel.framework, kernel.version, weights), rows))
    yield from sorted(found, key=lambda item: len(item[1].seconds))


def _best_keys(dense: Mapping[_Key, Measured], sparse: Mapping[_Key, Measured]) -> Iterator[_Key]:
    """Of each device and framework one key: a version that both were measured in, the newest, in fewest bytes."""
    best: dict[tuple[str, str], _Key] = {}

    def rank(key: _Key) -> tuple[bool, tuple[int, ...], int]:
        is_shared = any(other[:3] == key[:3] for other in dense)
        return is_shared, version_key(key[2]), -_WEIGHTS.index(key[3])

    for key in sparse:
        if key[:2] not in best or rank(key) > rank(best[key[:2]]):
            best[key[:2]] = key
    yield from best.values()


def _any_version(dense: Mapping[_Key, Measured], key: _Key) -> Measured | None:
    """Dense rows for a sparse key that has none of its own: of its version, else of another; its weights or none."""
    fitting = [other for other in dense if other[:2] == key[:2] and other[3] in (key[3], "")]
    same = [other for other in fitting if other[2] == key[2]]
    return dense[(same or fitting)[-1]] if fitting else None


def _is_shape(kind: PairKind, cases: Cases) -> np.ndarray:
    columns = cases.columns
    if cases.operation == "attention":
        is_windowed = cases.variant.endswith("window")
        same = (columns["q_heads"] == 64) & (columns["kv_heads"] == 4) & (columns["head_dim"] == 128)
        return np.asarray(same & (not is_windowed))
    is_model = np.ones(len(columns["heads"]), bool)
    if kind is PairKind.DSA:  # tables of latent attention hold other models too, with other projections
        weights = sum(matmul.num_weights for matmul in mixer_of(kind, cases.operation).matmuls(hidden_size_of(kind)))
        is_model = np.isclose(columns["weights"], weights)
    return np.asarray((columns["heads"] == kind.heads) & is_model)


def _pair(kind: PairKind, sparse: Measured, dense: Measured, weights: str, longest_fitted: int) -> SparsePair:
    kernel, device = sparse.kernel, device_of(sparse.kernel.system)
    dense_s, sparse_s = (_by_cell(rows, rows.seconds) for rows in (dense, sparse))
    far_dense_s, far_sparse_s = (_by_cell(rows, _predict_far(rows, longest_fitted)) for rows in (dense, sparse))
    shared = [cell for cell in sparse_s if cell in dense_s and cell[1] >= SHORTEST]
    extra = {
        batch: projections_s(kind, device, kernel.framework, weights, batch=batch)
        for batch in {batch for batch, _ in shared}
    }
    cells = tuple(
        Cell(
            batch=cell[0], context_len=cell[1], projections_s=extra[cell[0]], dense_s=dense_s[cell] + extra[cell[0]],
            sparse_s=sparse_s[cell], predicted_dense_s=far_dense_s[cell] + extra[cell[0]],
            predicted_sparse_s=far_sparse_s[cell],
        )
        for cell in shared
    )  # fmt: skip
    return SparsePair(
        kind=kind, device=device.name, framework=kernel.framework, version=kernel.version,
        dense_version=dense.kernel.version, dense_kernel=dense.kernel.name, sparse_kernel=kernel.name,
        weights=weights, source=published_source(), longest_fitted=longest_fitted, cells=cells,
    )  # fmt: skip


def _by_cell(rows: Measured, seconds: Array) -> dict[tuple[int, int], float]:
    """Seconds by batch and context; tables that count the new token beside a power of two are read as the power."""
    columns = rows.cases.columns
    cells = zip(columns["batch"].tolist(), columns["context_len"].tolist(), seconds.tolist(), strict=True)
    return {(int(batch), _rounded(int(context))): value for batch, context, value in cells}


def _rounded(context_len: int) -> int:
    return context_len - 1 if (context_len - 1).bit_count() == 1 else context_len


def _predict_far(rows: Measured, longest: int) -> Array:
    """Seconds of every row by a fit to the contexts up to `longest` of this very shape."""
    near = rows.take(np.flatnonzero(rows.cases.columns["context_len"] <= longest + 1))
    return predict_unseen(near, rows)


def projections_s(kind: PairKind, device: Accelerator, framework: str, weights: str, *, batch: int) -> float:
    """Seconds that dense attention's projections add at a batch: none where its table holds them."""
    mixer = mixer_of(kind, kind.value)
    if not isinstance(mixer, BlockSparseAttention):
        return 0.0
    kept_in, is_thin = find_weight_format(weights), batch <= THIN_ROWS
    products = (
        matmul_cases(kept_in, rows=[batch], inputs=[one.num_inputs], outputs=[one.num_outputs], is_thin=is_thin)
        for one in mixer.attention.matmuls(hidden_size_of(kind))
    )
    return sum(time_cases(product, device, framework).seconds for product in products)


def mixer_of(kind: PairKind, operation: str) -> Mixer:
    """The layer that was measured as one side of a pair: `mla` or `dsa`, else the block-sparse one."""
    model = {"mla": "DeepSeek-V3", "dsa": "DeepSeek-V3.2"}.get(operation, "MiniMax-M3")
    wanted = BlockSparseAttention if kind is PairKind.MSA else LatentAttention
    return next(mixer for _, mixer in find_architecture(model).mixers() if isinstance(mixer, wanted))


def hidden_size_of(kind: PairKind) -> int:
    """The hidden size of the model that a pair is of."""
    return find_architecture("DeepSeek-V3.2" if kind is PairKind.DSA else "MiniMax-M3").hidden_size
