"""The fixed tensors of one batch bucket, and the decode step over them: eager, or replayed from a CUDA graph.

A bucket never changes shape: idle rows decode a token of their own, in a page of their own. A graph reads and writes
the same tensors at every replay, so a step costs one launch whatever the number of layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from kinetics.engine.attention import Attention, DecodeBatch
from kinetics.engine.decoder import Decoder
from kinetics.engine.kv_cache import PagedSequence
from kinetics_kernels.unavailable import Unavailable

_WARM_UP_STEPS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeBuffers:
    """Inputs of a step. token_ids: int64 [batch]; `batch` holds the block table and the lengths."""

    token_ids: torch.Tensor
    batch: DecodeBatch
    idle_pages: tuple[int, ...]

    @classmethod
    def empty(cls, *, idle_pages: Sequence[int], max_pages: int, device: torch.device | str) -> DecodeBuffers:
        """Buffers with every row idle; one page per row for it to write to."""
        num_rows = len(idle_pages)
        buffers = cls(
            token_ids=torch.zeros(num_rows, dtype=torch.int64, device=device),
            batch=DecodeBatch(
                block_table=torch.zeros((num_rows, max_pages), dtype=torch.int32, device=device),
                seq_lens=torch.ones(num_rows, dtype=torch.int32, device=device),
            ),
            idle_pages=tuple(idle_pages),
        )
        buffers.fill({}, {})
        return buffers

    def fill(self, sequences: dict[int, PagedSequence], token_ids: dict[int, int]) -> None:
        """Write rows, tokens and lengths of this step; rows that are not named are idle."""
        # In numpy: for models of a few layers, a tensor per row costs a fifth of the step.
        num_rows = len(self.idle_pages)
        table = np.zeros(tuple(self.batch.block_table.shape), dtype=np.int32)
        lengths, tokens = np.ones(num_rows, dtype=np.int32), np.zeros(num_rows, dtype=np.int64)
        table[:, 0] = self.idle_pages
        for row, sequence in sequences.items():
            table[row, : len(sequence.pages)] = sequence.pages
            lengths[row], tokens[row] = sequence.num_tokens, token_ids[row]
        self.batch.block_table.copy_(torch.from_numpy(table))
        self.batch.seq_lens.copy_(torch.from_numpy(lengths))
        self.token_ids.copy_(torch.from_numpy(tokens))


class EagerStep:
    """The decode step, launched operation by operation."""

    def __init__(self, decoder: Decoder, buffers: DecodeBuffers, attention: Attention) -> None:
        self._decoder, self._buffers, self._attention = decoder, buffers, attention

    def __call__(self) -> torch.Tensor:
        """Logits [batch, vocab_size] for what the buffers hold now."""
        return self._decoder.decode(self._buffers.token_ids, self._buffers.batch, self._attention)


class GraphStep:
    """The decode step as one CUDA graph. The logits it returns are overwritten by the next call.

    The warm-up steps and the capture write to the caches at the positions that the buffers name: build it while every
    row is idle. Raises: ValueError where there is no CUDA device.
    """

    def __init__(self, decoder: Decoder, buffers: DecodeBuffers, attention: Attention) -> None:
        if unavailable := graph_unavailable_on(buffers.token_ids.device):
            raise ValueError(str(unavailable))
        eager = EagerStep(decoder, buffers, attention)
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # compiles, and fills what is filled on first use, outside the capture
            for _ in range(_WARM_UP_STEPS):
                eager()
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._logits = eager()

    def __call__(self) -> torch.Tensor:
        """Logits [batch, vocab_size] for what the buffers hold now."""
        self._graph.replay()
        return self._logits


def graph_unavailable_on(device: torch.device) -> Unavailable | None:
    """Why a step cannot be captured here; None if it can."""
    if device.type == "cuda":
        return None
    return Unavailable(f"a CUDA graph needs a CUDA device, got {device}; decode eagerly")
