"""Published modules, dense and sparse, as result files that say so: `compare` and `report` pair them like rows of ours.

A module's time holds its projections; its bytes and FLOP are those of the attention alone. What the tables do not state
(page size, cache state, launches) stays unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kinetics.files.atomic import write_json
from kinetics.results.published import machine_facts, one_sample_stats
from kinetics.results.reader import Origin
from kinetics.results.sparse_silicon import Cell, PairKind, SparsePair
from kinetics.results.store import SCHEMA, Document
from kinetics.specs.hardware import Accelerator, find_accelerator

_HEADS = {PairKind.DSA: (128, 1, 576), PairKind.MSA: (64, 4, 128)}
"""Query heads, KV heads and the elements of a key; latent attention keeps one latent for all heads."""
_VALUES = {PairKind.DSA: 512, PairKind.MSA: 128}


def write_pairs(pairs: Iterable[SparsePair], folder: Path, *, source: str) -> list[Path]:
    """One result file a pair; return their paths.

    Raises: ValueError if there is nothing measured to write.
    """
    written = []
    for pair in pairs:
        if all(cell.measured is not None for cell in pair.cells) and pair.cells:
            name = f"{pair.kind.value}-{pair.framework}-{re.sub(r'[^a-z0-9]+', '-', pair.device.lower()).strip('-')}"
            path = folder / f"{name}.json"
            write_json(path, pair_document(pair, source=source))
            written.append(path)
    if not written:
        raise ValueError("result files need measured cells, got predictions alone; install aiconfigurator-core")
    return written


def pair_document(pair: SparsePair, *, source: str) -> Document:
    """The result file of one pair on one device."""
    device = find_accelerator(pair.device)
    return {
        "schema": SCHEMA,
        "origin": Origin.PUBLISHED.value,
        "source": f"{source}: {pair.framework} {pair.version}, {pair.kind.title}, projections in {pair.weights}",
        "grid": "published",
        "machine_info": machine_facts(device),
        "calibrations": {},
        "skipped": [],
        "benchmarks": [bench for cell in pair.cells for bench in _benches(pair, cell, device)],
    }


def _benches(pair: SparsePair, cell: Cell, device: Accelerator) -> Iterator[dict[str, Any]]:
    """The dense and the sparse row of one cell."""
    assert cell.dense_s is not None
    assert cell.sparse_s is not None
    kept = min(pair.kind.kept_tokens, cell.context_len)
    sides = (
        ("dense", cell.context_len, cell.dense_s, cell.predicted_dense_s),
        ("block_topk", kept, cell.sparse_s, cell.predicted_sparse_s),
    )
    for operation, keys, seconds, predicted_s in sides:
        num_q_heads, num_kv_heads, head_dim = _HEADS[pair.kind]
        values = _VALUES[pair.kind]
        key_bytes = 2 * num_kv_heads * (head_dim if pair.kind is PairKind.DSA else head_dim + values)
        num_bytes = cell.batch * keys * key_bytes
        name = f"{operation}-{pair.framework}-{pair.kind.value}-b{cell.batch}-c{cell.context_len}"
        fields = {
            "case": name, "operation": operation, "provider": f"{pair.framework} {pair.kind.value} module",
            "provider_version": pair.version, "model": pair.kind.model, "num_q_heads": num_q_heads,
            "num_kv_heads": num_kv_heads, "head_dim": head_dim, "batch": cell.batch, "context_len": cell.context_len,
            "kv_budget": pair.kind.kept_tokens if operation == "block_topk" else None, "page_size": None,
            "kv_layout": None, "dtype": "bfloat16", "cache_state": None, "graph": None, "minimum_bytes": num_bytes,
            "flop": 2 * cell.batch * keys * num_q_heads * (head_dim + values), "median_s": seconds,
            "predicted_s": predicted_s, "predicted_roof_s": num_bytes / device.memory_bytes_per_s,
            "predicted_bound": "memory", "calibrated_s": None, "calibration_role": None,
            "measured_over_predicted": seconds / predicted_s, "achieved_bytes_per_s": num_bytes / seconds,
            "ceiling_bytes_per_s": device.memory_bytes_per_s,
            "fraction_of_ceiling": num_bytes / seconds / device.memory_bytes_per_s, "max_abs_error": None,
        }  # fmt: skip
        yield {
            "name": name, "fullname": name, "group": "published", "extra_info": fields,
            "stats": one_sample_stats(seconds),
        }  # fmt: skip
