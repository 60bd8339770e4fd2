"""Measuring within the memory there is: refused beforehand, or given up when an allocator fails, and freed after."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from kinetics.cases.cell_memory import MEMORY_SHARE
from kinetics.cost.memory import MemoryNeed
from kinetics.machine.device import Device, available_bytes
from kinetics_kernels.unavailable import Unavailable

AnyCase = TypeVar("AnyCase")
AnyOutcome = TypeVar("AnyOutcome")


def run_within_memory(
    cases: Sequence[AnyCase],
    need: MemoryNeed,
    device: Device,
    measure: Callable[[], dict[AnyCase, AnyOutcome]],
    *,
    free_bytes: int | None = None,
) -> dict[AnyCase, AnyOutcome | Unavailable]:
    """What `measure` returns, or for every case the reason why its memory was not enough; freed in the end.

    `free_bytes`: what can be allocated; None is for all that is free now.
    """
    free_bytes = available_bytes(device) if free_bytes is None else free_bytes
    if unavailable := need.unavailable_within(free_bytes, share=MEMORY_SHARE):
        return dict.fromkeys(cases, unavailable)
    try:
        return {**measure()}
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return dict.fromkeys(cases, Unavailable(f"out of memory, though the estimate was {need}"))
    finally:
        gc.collect()
        if device.kind == "cuda":
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator failed: torch's CPU allocator raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
