"""Ranks that are threads of one process: they meet at barriers and add each other's tensors up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")
Said = TypeVar("Said")


@dataclass
class Meeting:
    """What the ranks share. `calls` counts what was reduced and gathered by rank 0."""

    num_ranks: int
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.slots: list[Any] = [None] * self.num_ranks
        self.barrier = threading.Barrier(self.num_ranks, timeout=120)

    def exchange(self, rank: int, own: Said, what: str) -> list[Said]:
        if rank == 0:
            self.calls.append(what)
        self.slots[rank] = own
        self.barrier.wait()
        found = list(self.slots)
        self.barrier.wait()
        return found


@dataclass
class ThreadRanks:
    """One thread's end."""

    rank: int
    meeting: Meeting

    @property
    def num_ranks(self) -> int:
        return self.meeting.num_ranks

    def all_reduce(self, partial: torch.Tensor) -> torch.Tensor:
        return torch.stack(self.meeting.exchange(self.rank, partial, "all_reduce")).sum(0)

    def gather(self, own: torch.Tensor) -> torch.Tensor:
        return torch.cat(self.meeting.exchange(self.rank, own, "gather"), dim=-1)

    def share(self, said: Said) -> list[Said]:
        return self.meeting.exchange(self.rank, said, "share")


def on_ranks(num_ranks: int, work: Callable[[ThreadRanks], Result]) -> tuple[list[Result], list[str]]:
    """The results of all ranks in order, and what they exchanged."""
    meeting = Meeting(num_ranks)
    with ThreadPoolExecutor(num_ranks) as pool:
        futures = [pool.submit(_or_abort, work, ThreadRanks(rank, meeting)) for rank in range(num_ranks)]
        return [future.result() for future in futures], meeting.calls


def _or_abort(work: Callable[[ThreadRanks], Result], ranks: ThreadRanks) -> Result:
    """Let nobody wait for a rank that failed."""
    try:
        return work(ranks)
    except BaseException:
        ranks.meeting.barrier.abort()
        raise
