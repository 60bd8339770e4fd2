"""Pairs of dense and sparse modules: as the package's tables measured them, and as fits predict them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from kinetics.prediction.silicon import time_cases
from kinetics.prediction.silicon_cases import (
    THIN_ROWS,
    Cases,
    attention_cases,
    block_sparse_cases,
    latent_cases,
    matmul_cases,
)
from kinetics.prediction.silicon_fits import committed_fits, device_of, fit_measured, version_key
from kinetics.prediction.silicon_package import Measured
from kinetics.prediction.silicon_tables import read_measured
from kinetics.results.sparse_silicon import Cell, PairKind, SparsePair
from kinetics.specs.attention_layers import BlockSparseAttention
from kinetics.specs.cache_formats import find_cache_format
from kinetics.specs.hardware import Accelerator
from kinetics.specs.known_models import find_architecture
from kinetics.specs.latent_layers import LatentAttention
from kinetics.specs.layers import Mixer
from kinetics.specs.weight_formats import find_weight_format

BATCHES: Final = (1, 4, 16, 64, 256)
CONTEXTS: Final = tuple(2**power for power in range(9, 18))
_WEIGHTS: Final = ("nvfp4", "fp8_block", "bf16")
"""Of those that were measured the one of fewest bytes: what each device would serve such a model in."""
_CACHE: Final = "bf16"


def measured_pairs(
    folder: Path, *, systems: Sequence[str] = (), frameworks: Sequence[str] = (), longest_fitted: int | None = None
) -> Iterator[SparsePair]:
    """Every pair that the tables hold, predictions beside them.

    `longest_fitted`: predict from fits that saw no longer context than this, instead of from the committed ones.
    """
    readers = {PairKind.DSA: ("mla", "dsa"), PairKind.MSA: ("attention", "msa")}
    for kind, tables in readers.items():
        only = {"num_heads": kind.heads}
        dense, sparse = (
            dict(_of_shape(kind, read_measured(folder, table, systems=systems, frameworks=frameworks, only=only)))
            for table in tables
        )
        for key in _best_keys(dense, sparse):
            other = dense.get(key) or _any_version(dense, key)
            if other is not None:
                yield _pair(kind, sparse[key], other, key[3], longest_fitted)


def predicted_pairs(devices: Sequence[Accelerator], frameworks: Sequence[str]) -> Iterator[SparsePair]:
    """The same pairs by committed fits alone, on a grid of batches and contexts."""
    for kind in PairKind:
        for device in devices:
            for framework in frameworks:
                weights = _fitted_weights(kind, device, framework)
                if weights is not None:
                    cells = tuple(
                        _cell(kind, device, framework, weights, batch=batch, context_len=context_len)
                        for batch in BATCHES
                        for context_len in CONTEXTS
                    )
                    yield SparsePair(
                        kind=kind, device=device.name, framework=framework, version="", weights=weights, cells=cells
                    )


def _fitted_weights(kind: PairKind, device: Accelerator, framework: str) -> str | None:
    """What the projections were measured in on a device; None if the sparse module was not measured there."""
    fits = [fit for fit in committed_fits() if fit.operation == kind.value and fit.kernel.framework == framework]
    here = {fit.dtype for fit in fits if device_of(fit.kernel.system) == device}
    return next((weights for weights in _WEIGHTS if f"{_CACHE}, weights {weights}" in here), None)


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
        weights = sum(matmul.num_weights for matmul in _mixer(kind, cases.operation).matmuls(_hidden(kind)))
        is_model = np.isclose(columns["weights"], weights)
    return np.asarray((columns["heads"] == kind.heads) & is_model)


def _pair(kind: PairKind, sparse: Measured, dense: Measured, weights: str, longest_fitted: int | None) -> SparsePair:
    kernel, device = sparse.kernel, device_of(sparse.kernel.system)
    dense_s = _by_cell(dense)
    predicted = None if longest_fitted is None else [_predict_far(one, longest_fitted) for one in (dense, sparse)]
    cells = []
    for (batch, context_len), sparse_s in _by_cell(sparse).items():
        if (batch, context_len) not in dense_s:
            continue
        extra = _projections_s(kind, device, kernel.framework, weights, batch=batch)
        cell = _cell(kind, device, kernel.framework, weights, batch=batch, context_len=context_len)
        if predicted is not None:
            far_dense, far_sparse = (one[batch, context_len] for one in predicted)
            cell = replace(cell, predicted_dense_s=far_dense + extra, predicted_sparse_s=far_sparse)
        cells.append(replace(cell, dense_s=dense_s[batch, context_len] + extra, sparse_s=sparse_s))
    return SparsePair(
        kind=kind, device=device.name, framework=kernel.framework, version=kernel.version, weights=weights,
        cells=tuple(cells),
    )  # fmt: skip


def _by_cell(rows: Measured) -> dict[tuple[int, int], float]:
    """Seconds by batch and context; tables that count the new token beside a power of two are read as the power."""
    columns = rows.cases.columns
    cells = zip(columns["batch"].tolist(), columns["context_len"].tolist(), rows.seconds.tolist(), strict=True)
    return {(int(batch), _rounded(int(context))): seconds for batch, context, seconds in cells}


def _rounded(context_len: int) -> int:
    return context_len - 1 if (context_len - 1).bit_count() == 1 else context_len


def _predict_far(rows: Measured, longest: int) -> dict[tuple[int, int], float]:
    """Seconds of every cell by a fit to the contexts up to `longest` of this very shape."""
    near = rows.take(np.flatnonzero(rows.cases.columns["context_len"] <= longest + 1))
    fit = fit_measured(near)
    return _by_cell(replace(rows, seconds=fit.seconds(rows.cases)))


def _projections_s(kind: PairKind, device: Accelerator, framework: str, weights: str, *, batch: int) -> float:
    """Seconds that dense attention's projections add at a batch: none where its table holds them."""
    mixer = _mixer(kind, kind.value)
    if not isinstance(mixer, BlockSparseAttention):
        return 0.0
    kept_in, is_thin = find_weight_format(weights), batch <= THIN_ROWS
    products = (
        matmul_cases(kept_in, rows=[batch], inputs=[one.num_inputs], outputs=[one.num_outputs], is_thin=is_thin)
        for one in mixer.attention.matmuls(_hidden(kind))
    )
    return sum(time_cases(product, device, framework).seconds for product in products)


def _cell(kind: PairKind, device: Accelerator, framework: str, weights: str, *, batch: int, context_len: int) -> Cell:
    """Predicted times of one cell."""
    extra = _projections_s(kind, device, framework, weights, batch=batch)
    dense, sparse = (
        time_cases(cases, device, framework).seconds for cases in _pair_cases(kind, weights, batch, context_len)
    )
    return Cell(
        batch=batch, context_len=context_len, dense_s=None, sparse_s=None, predicted_dense_s=dense + extra,
        predicted_sparse_s=sparse,
    )  # fmt: skip


def _pair_cases(kind: PairKind, weights: str, batch: int, context_len: int) -> tuple[Cases, Cases]:
    """The dense and the sparse case of one cell."""
    cache, asked = find_cache_format(_CACHE), {"batch": [batch], "context_len": [context_len]}
    mixer, kept_in = _mixer(kind, kind.value), find_weight_format(weights)
    if isinstance(mixer, BlockSparseAttention):
        sparse = block_sparse_cases(mixer, cache, kept_in, hidden_size=_hidden(kind), **asked)
        return attention_cases(mixer.attention, cache, **asked), sparse
    assert isinstance(mixer, LatentAttention)
    dense = latent_cases(replace(mixer, indexer=None), cache, kept_in, hidden_size=_hidden(kind), **asked)
    return dense, latent_cases(mixer, cache, kept_in, hidden_size=_hidden(kind), **asked)


def _mixer(kind: PairKind, operation: str) -> Mixer:
    model = {"mla": "DeepSeek-V3", "dsa": "DeepSeek-V3.2"}.get(operation, "MiniMax-M3")
    wanted = BlockSparseAttention if kind is PairKind.MSA else LatentAttention
    return next(mixer for _, mixer in find_architecture(model).mixers() if isinstance(mixer, wanted))


def _hidden(kind: PairKind) -> int:
    return find_architecture("DeepSeek-V3.2" if kind is PairKind.DSA else "MiniMax-M3").hidden_size
