"""One model shared by several devices: each holds some of the heads, of the MLP's width and of the vocabulary.

A process is one rank. What a rank computes alone are partial sums of the same hidden vectors; `all_reduce` adds them
up, twice a layer and once for the embedding, and `gather` joins the logits. torch.distributed does the talking: NCCL
between GPUs, gloo between CPUs. What ranks say to each other (`share`) goes between hosts, by gloo.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, Protocol, TypeVar

import torch
import torch.distributed as dist

from kinetics.engine.weights import LayerWeights, ModelWeights
from kinetics.specs.models import ModelSpec
from kinetics.specs.shard import shard_of

RANK_TIMEOUT_S: Final = 300.0
"""For how long a rank waits for another: longer than one compiles or proves, shorter than anybody waits."""

Said = TypeVar("Said")


class RankFailedError(BaseException):
    """A rank failed where the others go on without it: nothing that they do after that means anything.

    No Exception, so that what keeps the failures of one case from others does not keep this one. `is_elsewhere`: it was
    another rank that failed, and this one waited for it in vain.
    """

    def __init__(self, why: str, *, is_elsewhere: bool = False) -> None:
        super().__init__(why)
        self.is_elsewhere = is_elsewhere


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

    def share(self, said: Said) -> list[Said]:
        """What each rank says, in order; nobody goes on before all have said it. Tensors are none of it."""


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

    def share(self, said: Said) -> list[Said]:
        """What it says itself."""
        return [said]


ALONE = Alone()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRanks:
    """The default process group of torch.distributed, joined before. `hosts`: a group of the same ranks by gloo."""

    rank: int
    num_ranks: int
    hosts: Any

    def all_reduce(self, partial: torch.Tensor) -> torch.Tensor:
        """The sum over all ranks, in place of the partial one.

        Raises: RankFailedError if another rank does not come; so do the other two.
        """
        try:
            dist.all_reduce(partial)
        except RuntimeError as error:
            raise self._left(error) from error
        return partial

    def gather(self, own: torch.Tensor) -> torch.Tensor:
        """The tensors of all ranks along the last dimension."""
        parts = [torch.empty_like(own) for _ in range(self.num_ranks)]
        try:
            dist.all_gather(parts, own.contiguous())
        except RuntimeError as error:
            raise self._left(error) from error
        return torch.cat(parts, dim=-1)

    def share(self, said: Said) -> list[Said]:
        """What each rank says, pickled."""
        heard: list[Any] = [None] * self.num_ranks
        try:
            dist.all_gather_object(heard, said, group=self.hosts)
        except RuntimeError as error:
            raise self._left(error) from error
        return heard

    def _left(self, error: RuntimeError) -> RankFailedError:
        told = str(error).strip().splitlines() or [""]
        return RankFailedError(f"{_name(self)} waited for another in vain: {told[0]}", is_elsewhere=True)


@contextmanager
def rank_failures(ranks: RankGroup) -> Iterator[None]:
    """Within it, what goes wrong on one of several ranks is a RankFailedError; a lone rank fails as it likes."""
    try:
        yield
    except Exception as error:
        if ranks.num_ranks == 1:
            raise
        lines = str(error).strip().splitlines() or [""]
        raise RankFailedError(f"{_name(ranks)} failed: {type(error).__name__}: {lines[0]}") from error


def _name(ranks: RankGroup) -> str:
    return f"rank {ranks.rank} of {ranks.num_ranks}"


@contextmanager
def joined_ranks(num_ranks: int, *, device_kind: str) -> Iterator[RankGroup]:
    """The ranks that torchrun started, as one group, left again at the end; `ALONE` for one.

    Raises: ValueError if torchrun did not start as many, or their sums are wrong.
    """
    if num_ranks == 1:
        yield ALONE
        return
    check_started(num_ranks, os.environ)
    if device_kind == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    timeout = timedelta(seconds=RANK_TIMEOUT_S)
    dist.init_process_group("nccl" if device_kind == "cuda" else "gloo", timeout=timeout)
    try:
        hosts = dist.new_group(backend="gloo", timeout=timeout)
        ranks = ProcessRanks(rank=dist.get_rank(), num_ranks=num_ranks, hosts=hosts)
        check_sums(ranks, device_kind)
        yield ranks
    finally:
        dist.destroy_process_group()


def check_started(num_ranks: int, environment: Mapping[str, str]) -> None:
    """Raises: ValueError if torchrun started another number of processes than is to share a model."""
    started = environment.get("WORLD_SIZE", "1")
    if started != str(num_ranks):
        raise ValueError(
            f"tensor parallelism over {num_ranks} ranks must be started as that many processes, got {started}; "
            f"run torchrun --nproc-per-node {num_ranks} -m pytest ... --tp {num_ranks}"
        )


def check_sums(ranks: RankGroup, device_kind: str) -> None:
    """Raises: ValueError if the ranks do not add up, or come out of order."""
    own = torch.tensor([ranks.rank + 1.0], device=device_kind)
    gathered = ranks.gather(own).tolist()
    total = float(ranks.all_reduce(own))
    numbers = [float(number) for number in range(1, ranks.num_ranks + 1)]
    if gathered != numbers or total != sum(numbers):
        raise ValueError(f"ranks must add up to {sum(numbers):g} and come in order, got {total:g} and {gathered}")


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
