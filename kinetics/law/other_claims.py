"""Checks by other people's kernels: speed-ups that the paper and others print, as measured, or as fits predict.

Measured are one layer of production kernels, dense and sparse; predicted whole decode steps. Nothing here has run on a
device of ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from kinetics.law.claims import Check, Evidence
from kinetics.law.silicon_costs import SiliconPricing
from kinetics.law.throughput_bounds import BALANCED_PRODUCT
from kinetics.prediction.silicon import FRAMEWORKS
from kinetics.results.silicon_document import committed_pairs
from kinetics.results.sparse_silicon import PairKind
from kinetics.specs.hardware import find_accelerator
from kinetics.specs.models import find_model
from kinetics.specs.policies import BlockTopK, Dense

_BUDGETS: Final = (128, 256, 512, 1024)


def predicted_speedup(model: str, device: str, *, batch: int, context_len: int, kv_budget: int) -> float:
    """How many times as fast a whole step is with block top-k: the most that any framework's fits say.

    Blocks are as the paper balances them against the budget; a batch that does not fit into memory is not refused.
    """
    spec, block_size = find_model(model), BALANCED_PRODUCT // kv_budget
    sparse = BlockTopK(block_size=block_size, top_blocks=max(1, kv_budget // block_size))
    ratios = []
    for framework in FRAMEWORKS:
        pricing = SiliconPricing(device=find_accelerator(device), framework=framework, batch=batch)
        dense_s, sparse_s = (pricing.step(spec, policy, context_len).seconds for policy in (Dense(), sparse))
        ratios.append(dense_s / sparse_s)
    return max(ratios)


def _speedup_at(_: Evidence, arguments: Sequence[str]) -> float:
    """Arguments: model, device, context, requests a device; the largest over the published budgets.

    To two digits, which is more than such predictions are sure of.
    """
    model, device, context_len, batch = arguments
    found = max(
        predicted_speedup(model, device, batch=int(batch), context_len=int(context_len), kv_budget=budget)
        for budget in _BUDGETS
    )
    return float(f"{found:.2g}")


def measured_speedups(kind: PairKind, *, batch: int, context_len: int) -> dict[tuple[str, str], float]:
    """Measured speed-ups of one sparse layer over a dense one, by (device, framework)."""
    return {
        (pair.device, pair.framework): cell.measured
        for pair in committed_pairs()
        if pair.kind is kind
        for cell in pair.cells
        if (cell.batch, cell.context_len) == (batch, context_len)
    }


def _smallest_measured(_: Evidence, arguments: Sequence[str]) -> float | None:
    """Arguments: pair, batch, context."""
    kind, batch, context_len = arguments
    found = measured_speedups(PairKind(kind), batch=int(batch), context_len=int(context_len))
    return min(found.values(), default=None)


OTHER_CHECKS: Final[Mapping[str, Check]] = {
    "predicted_speedup": _speedup_at,
    "smallest_measured_speedup": _smallest_measured,
    # Key-equivalent reads a step: 65,536 by full attention; 5,632 by the sparse one as its authors count them.
    "nsa_reads": lambda _, __: 65_536 / 5_632,
}
"""By the first part of a claim's key, as `kinetics.law.claims.CHECKS`."""
