"""Published modules, dense and sparse, as result files that say so: `compare` and `report` pair them like rows of ours.

A row is one layer's module, projections included, as `kinetics silicon` shows it. `predicted_s` is the data sheet's
roof of what such a module cannot avoid; `calibrated_s` is what fits of short contexts say, role `held_out` where the
context lies beyond them. What the tables do not state (page size, cache state, launches) stays unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kinetics.cost.kernels import Work
from kinetics.files.atomic import write_json
from kinetics.results.pair_work import pair_work
from kinetics.results.published import LatencySelection, device_slug, machine_facts, one_sample_stats
from kinetics.results.reader import Origin
from kinetics.results.sparse_silicon import Cell, PairKind, SparsePair
from kinetics.results.store import SCHEMA, Document
from kinetics.specs.hardware import Accelerator, Precision, find_accelerator
from kinetics.specs.names import spelling, unknown_name

_HEADS = {PairKind.DSA: (128, 1, 576), PairKind.MSA: (64, 4, 128)}
"""Query heads, KV heads and elements of a key; latent attention keeps one latent for all heads."""


def import_pairs(pairs: Sequence[SparsePair], folder: Path, *, selection: LatencySelection) -> list[Path]:
    """Write one result file per device; return their paths.

    Raises: ValueError for a model that no pair is of, or if no cell is wanted.
    """
    _check_models(selection.models)
    written = []
    for name in dict.fromkeys(pair.device for pair in pairs):
        document = pairs_document([pair for pair in pairs if pair.device == name], selection)
        if document["benchmarks"]:
            path = folder / f"silicon-{device_slug(name)}.json"
            write_json(path, document)
            written.append(path)
    if not written:
        raise ValueError("pairs must hold a wanted cell, got none; widen --model, --batch or --context")
    return written


def pairs_document(pairs: Sequence[SparsePair], selection: LatencySelection) -> Document:
    """The result file of one device's pairs."""
    device = find_accelerator(pairs[0].device)
    wanted = {spelling(model) for model in selection.models}
    return {
        "schema": SCHEMA,
        "origin": Origin.PUBLISHED.value,
        "source": f"{', '.join(dict.fromkeys(pair.source for pair in pairs))}; modules of one layer, with projections",
        "grid": "published",
        "machine_info": machine_facts(device),
        "calibrations": {},
        "skipped": [],
        "benchmarks": [
            bench
            for pair in pairs
            if not wanted or spelling(pair.kind.model) in wanted
            for bench in _benches(pair, selection, device)
        ],
    }


def _check_models(models: Sequence[str]) -> None:
    known = [kind.model for kind in PairKind]
    for model in models:
        if spelling(model) not in {spelling(one) for one in known}:
            raise ValueError(unknown_name("--model must be a known one", model, known))


def _benches(pair: SparsePair, selection: LatencySelection, device: Accelerator) -> Iterator[dict[str, Any]]:
    """Two rows a wanted cell: dense, and sparse, whose budget is what it keeps."""
    for cell, works in zip(pair.cells, pair_work(pair), strict=True):
        if selection.takes_size(cell.batch, cell.context_len):
            role = "fit" if cell.context_len <= pair.longest_fitted else "held_out"
            measured = (cell.dense_s, cell.sparse_s)
            fitted = (cell.predicted_dense_s, cell.predicted_sparse_s)
            for operation, work, seconds, fitted_s in zip(
                ("dense", "block_topk"), works, measured, fitted, strict=True
            ):
                facts = _case(pair, cell, operation) | {"calibrated_s": fitted_s, "calibration_role": role}
                name = str(facts["case"])
                yield {
                    "name": name, "fullname": name, "group": "published", "stats": one_sample_stats(seconds),
                    "extra_info": facts | _rates(work, seconds, device),
                }  # fmt: skip


def _case(pair: SparsePair, cell: Cell, operation: str) -> dict[str, Any]:
    num_q_heads, num_kv_heads, head_dim = _HEADS[pair.kind]
    version = pair.dense_version if operation == "dense" else pair.version
    kernel = pair.dense_kernel if operation == "dense" else pair.sparse_kernel
    return {
        "case": f"{operation}-{pair.framework}-{pair.kind.value}-b{cell.batch}-c{cell.context_len}",
        "operation": operation, "provider": f"{pair.framework} {pair.kind.value} module",
        "provider_version": f"{version}: {kernel}, weights {pair.weights}", "model": pair.kind.model,
        "num_q_heads": num_q_heads, "num_kv_heads": num_kv_heads, "head_dim": head_dim, "batch": cell.batch,
        "context_len": cell.context_len, "kv_budget": None if operation == "dense" else pair.kind.kept_tokens,
        "page_size": None, "kv_layout": None, "dtype": "bfloat16", "cache_state": None, "graph": None,
        "max_abs_error": None,
    }  # fmt: skip


def _rates(work: Work, measured_s: float, device: Accelerator) -> dict[str, Any]:
    """What the module cannot avoid, and how far its time is from that."""
    memory_s = work.num_bytes / device.memory_bytes_per_s
    compute_s = work.flop / device.flop_per_s(Precision.BF16)
    roof_s, achieved = max(memory_s, compute_s), work.num_bytes / measured_s
    return {
        "minimum_bytes": work.num_bytes, "flop": work.flop, "median_s": measured_s, "predicted_s": roof_s,
        "predicted_roof_s": roof_s, "predicted_bound": "memory" if memory_s >= compute_s else "compute",
        "measured_over_predicted": measured_s / roof_s, "achieved_bytes_per_s": achieved,
        "ceiling_bytes_per_s": device.memory_bytes_per_s,
        "fraction_of_ceiling": achieved / device.memory_bytes_per_s,
    }  # fmt: skip
