"""One model shared by several devices: each holds some of the heads, of the MLP's width and of the vocabulary.

A process is one rank. What a rank computes alone are partial sums of the same hidden vectors; `all_reduce` adds them
up, twice a layer and once for the embedding, and `gather` joins the logits. torch.distributed does the talking: NCCL
between GPUs, gloo between CPUs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.distributed as dist

from kinetics.engine.weights import LayerWeights, ModelWeights
from kinetics.specs.models import ModelSpec


class RankGroup(Protocol):
    """The ranks that share a model."""

    @property
    def rank(self) -> int:
        """The place of this process among them, counted from 0."""

    @property
    def num_ranks(self) -> int:
        """How many there are."""

    def all_reduce(self, partial: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks; `partial` may be overwritten."""

    def gather(self, own: torch.Tensor) -> torch.Tensor:
        """The tensors of all ranks, in order, side by side along the last dimension."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """One rank that has it all."""

    rank: int = 0
    num_ranks: int = 1

    def all_reduce(self, partial: torch.Tensor) -> torch.Tensor:
        """The tensor itself."""
        return partial

    def gather(self, own: torch.Tensor) -> torch.Tensor:
        """The tensor itself."""
        return own


ALONE = Alone()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRanks:
    """The default process group of torch.distributed, joined before."""

    rank: int
    num_ranks: int

    def all_reduce(self, partial: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks, in place of the partial one."""
        dist.all_reduce(partial)
        return partial

    def gather(self, own: torch.Tensor) -> torch.Tensor:
        """The tensors of all ranks along the last dimension."""
        parts = [torch.empty_like(own) for _ in range(self.num_ranks)]
        dist.all_gather(parts, own.contiguous())
        return torch.cat(parts, dim=-1)


@contextmanager
def joined_ranks(num_ranks: int, *, device_kind: str) -> Iterator[RankGroup]:
    """The ranks that torchrun started, as one group, left again at the end; `ALONE` for one.

    Raises: ValueError if torchrun did not start as many.
    """
    if num_ranks == 1:
        yield ALONE
        return
    started = os.environ.get("WORLD_SIZE", "1")
    if started != str(num_ranks):
        raise ValueError(
            f"tensor parallelism over {num_ranks} ranks must be started as that many processes, got {started}; "
            f"run torchrun --nproc-per-node {num_ranks} -m pytest ..."
        )
    if device_kind == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device_kind == "cuda" else "gloo")
    try:
        yield ProcessRanks(rank=dist.get_rank(), num_ranks=num_ranks)
    finally:
        dist.destroy_process_group()


def shard_of(model: ModelSpec, num_ranks: int) -> ModelSpec:
    """What one rank holds of a model. Experts are cut through their width, so that every rank has part of each.

    A vocabulary that does not divide is rounded up; the decoder cuts the logits of tokens that are none.

    Raises: ValueError if the ranks do not divide the heads or the width.
    """
    for what in ("num_q_heads", "num_kv_heads", "intermediate_size"):
        if getattr(model, what) % num_ranks:
            raise ValueError(
                f"the number of ranks must divide {what} of {model.name}, got {num_ranks} and {getattr(model, what)}"
            )
    return replace(
        model,
        num_q_heads=model.num_q_heads // num_ranks,
        num_kv_heads=model.num_kv_heads // num_ranks,
        intermediate_size=model.intermediate_size // num_ranks,
        vocab_size=-(-model.vocab_size // num_ranks),
    )


def shard_weights(weights: ModelWeights, model: ModelSpec, *, rank: int, num_ranks: int) -> ModelWeights:
    """The part of one rank of the whole weights of `model`, copied.

    Raises: ValueError if the ranks do not divide the model.
    """
    shard = shard_of(model, num_ranks)
    embedding = _vocabulary_rows(weights.embedding, shard.vocab_size, rank)
    is_tied = weights.head is weights.embedding
    return ModelWeights(
        embedding=embedding,
        layers=tuple(_shard_layer(layer, model, rank, num_ranks) for layer in weights.layers),
        final_norm=weights.final_norm,
        head=embedding if is_tied else _vocabulary_rows(weights.head, shard.vocab_size, rank),
    )


def _vocabulary_rows(table: torch.Tensor, num_rows: int, rank: int) -> torch.Tensor:
    """Rows of one rank, with zeros behind the last token."""
    own = table[rank * num_rows : (rank + 1) * num_rows]
    return torch.cat([own, own.new_zeros(num_rows - len(own), table.shape[1])])


def _shard_layer(layer: LayerWeights, model: ModelSpec, rank: int, num_ranks: int) -> LayerWeights:
    q_rows, kv_rows = model.num_q_heads * model.head_dim, model.num_kv_heads * model.head_dim

    def own(tensor: torch.Tensor, dim: int) -> torch.Tensor:
        return tensor.chunk(num_ranks, dim=dim)[rank].contiguous()

    def own_qkv(tensor: torch.Tensor) -> torch.Tensor:
        return torch.cat([own(part, 0) for part in torch.split(tensor, [q_rows, kv_rows, kv_rows])])

    return replace(
        layer,
        qkv=own_qkv(layer.qkv),
        qkv_bias=None if layer.qkv_bias is None else own_qkv(layer.qkv_bias),
        output=own(layer.output, 1),
        gate_up=torch.cat([own(part, -2) for part in layer.gate_up.chunk(2, dim=-2)], dim=-2),
        down=own(layer.down, -1),
    )
