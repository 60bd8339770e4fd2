"""What the values in a cell's tensors should give, by plain torch in float64 and in the precision of the kernels.

Every provider of a cell answers for the same values, so each right answer is computed once.
"""

from __future__ import annotations

import torch

from kinetics.measure.cell_inputs import CellInputs
from kinetics_kernels.block_topk import reference as block_topk_reference
from kinetics_kernels.testing import Attended, reference_dense, reference_sparse


class Oracle:
    """Right answers for the values that the inputs hold when it is first asked. New values need a new oracle."""

    def __init__(self, inputs: CellInputs) -> None:
        self._inputs = inputs
        self._dense: dict[torch.dtype, Attended] = {}
        self._sparse: list[tuple[torch.Tensor, torch.dtype, Attended]] = []
        self._scores: dict[torch.dtype, torch.Tensor] = {}

    def dense(self, dtype: torch.dtype) -> Attended:
        """Attention to every key."""
        if dtype not in self._dense:
            self._dense[dtype] = reference_dense(self._inputs.decode, dtype=dtype)
        return self._dense[dtype]

    def sparse(self, pages: torch.Tensor, dtype: torch.dtype) -> Attended:
        """Attention to these pages, [batch, num_kv_heads, num_pages]."""
        for known, of_dtype, attended in self._sparse:
            if of_dtype is dtype and torch.equal(known, pages):
                return attended
        attended = reference_sparse(self._inputs.decode, pages, dtype=dtype)
        self._sparse.append((pages.clone(), dtype, attended))
        return attended

    def scores(self, dtype: torch.dtype) -> torch.Tensor:
        """Scores [batch, num_kv_heads, max_pages] from the summaries as stored; -inf where no page is."""
        if dtype not in self._scores:
            inputs, q = self._inputs, self._inputs.decode.q.to(dtype)
            scores = torch.empty(inputs.scores.shape, dtype=dtype, device=inputs.scores.device)
            # Summaries are widened head by head: all of them at once would take gigabytes at long contexts.
            block_topk_reference.score_pages(q, inputs.decode.cache, inputs.page_summary, scores=scores)
            self._scores[dtype] = scores
        return self._scores[dtype]
