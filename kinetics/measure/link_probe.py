"""How fast the ranks of this run add up: a large sum, and one of a single element."""

from __future__ import annotations

import time
from typing import Final

import torch

from kinetics.engine.tensor_parallel import RankGroup
from kinetics.machine.device import Device
from kinetics.specs.ceilings import LinkCeilings

_LARGE_BYTES: Final = 16 * 2**20
_NUM_SAMPLES: Final = 7
_SUMS_PER_SAMPLE: Final = 10


def probe_links(ranks: RankGroup, device: Device) -> LinkCeilings:
    """The best of several samples, each as long as on the slowest rank; the same on every rank."""
    empty, large = (torch.zeros(num_bytes // 4, device=device.torch_name) for num_bytes in (4, _LARGE_BYTES))
    collective_s, large_s = (_fastest_s(ranks, tensor) for tensor in (empty, large))
    moved = 2 * _LARGE_BYTES * (ranks.num_ranks - 1) / ranks.num_ranks
    return LinkCeilings(bytes_per_s=moved / max(large_s - collective_s, 1e-9), collective_s=collective_s)


def _fastest_s(ranks: RankGroup, tensor: torch.Tensor) -> float:
    _sums_s(ranks, tensor)
    return min(max(ranks.share(_sums_s(ranks, tensor))) for _ in range(_NUM_SAMPLES))


def _sums_s(ranks: RankGroup, tensor: torch.Tensor) -> float:
    """Seconds of one sum, of several that follow each other."""
    ranks.share(None)
    started = time.perf_counter()
    for _ in range(_SUMS_PER_SAMPLE):
        ranks.all_reduce(tensor)
    if tensor.is_cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / _SUMS_PER_SAMPLE
