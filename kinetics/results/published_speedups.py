"""Sparse speed-ups that others published, each beside what fits of measured kernels say: rows for a table of claims.

`published_speedups` is what the claims table can draw on. What the tables measured is held against fits of contexts up
to 16k; what a paper claims beyond all tables is held against fits far beyond their range, which says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from kinetics.prediction.silicon import time_cases
from kinetics.prediction.silicon_cases import attention_cases, block_sparse_cases
from kinetics.results.silicon_document import committed_pairs
from kinetics.results.silicon_pairs import projections_s
from kinetics.results.silicon_tables import short_device
from kinetics.results.sparse_silicon import PairKind, SparsePair
from kinetics.specs.attention_layers import BlockSparseAttention
from kinetics.specs.cache_formats import find_cache_format
from kinetics.specs.counts import short
from kinetics.specs.hardware import find_accelerator
from kinetics.specs.known_models import find_architecture
from kinetics.specs.weight_formats import find_weight_format

MSA_PAPER_SPEEDUP: Final = 7.6
"""Of decoding at a context of 1M on an H800, batch not stated. Source: arXiv 2606.13392, abstract."""
_MSA_PAPER_BATCHES: Final = (1, 8)
_MILLION: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedSpeedup:
    """One published speed-up of sparse over dense decode attention, and what fits say instead.

    `is_extrapolated`: the fits saw no context or batch near it, so that they can doubt the figure but not settle it.
    """

    what: str
    published: float
    found: float
    is_extrapolated: bool
    source: str


def published_speedups() -> list[PublishedSpeedup]:
    """Each pair's greatest measured speed-up, that of one request at the longest context, and a paper's claim."""
    found = [speedup for pair in committed_pairs() for speedup in _of_pair(pair)]
    return [*found, *_of_msa_paper()]


def _of_pair(pair: SparsePair) -> Iterator[PublishedSpeedup]:
    best = max(pair.cells, key=lambda cell: cell.measured)
    for cell in dict.fromkeys((pair.line(1)[-1], best)):
        place = f"batch {cell.batch}, {short(cell.context_len)} tokens, {short_device(pair.device)}"
        yield PublishedSpeedup(
            what=f"{pair.kind.title}, {place}, {pair.framework} {pair.version}", published=cell.measured,
            found=cell.predicted, is_extrapolated=False, source=pair.source,
        )  # fmt: skip


def _of_msa_paper() -> Iterator[PublishedSpeedup]:
    """An H100 stands for the H800, which reads its memory as fast."""
    for batch in _MSA_PAPER_BATCHES:
        yield PublishedSpeedup(
            what=f"{PairKind.MSA.title}, batch {batch} (none stated), 1M tokens, H800", published=MSA_PAPER_SPEEDUP,
            found=_msa_speedup(batch), is_extrapolated=True, source="arXiv 2606.13392, abstract",
        )  # fmt: skip


def _msa_speedup(batch: int) -> float:
    architecture, device, framework = find_architecture("MiniMax-M3"), find_accelerator("H100"), "vllm"
    mixer = next(mixer for _, mixer in architecture.mixers() if isinstance(mixer, BlockSparseAttention))
    cache, weights = find_cache_format("bf16"), find_weight_format("bf16")
    dense = attention_cases(mixer.attention, cache, batch=[batch], context_len=[_MILLION])
    sparse = block_sparse_cases(
        mixer, cache, weights, hidden_size=architecture.hidden_size, batch=[batch], context_len=[_MILLION]
    )
    dense_s, sparse_s = (time_cases(cases, device, framework).seconds for cases in (dense, sparse))
    return (dense_s + projections_s(PairKind.MSA, device, framework, weights.name, batch=batch)) / sparse_s
