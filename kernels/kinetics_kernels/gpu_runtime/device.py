"""Which GPU a launch is for, and whether Triton really compiles in this process.

This file knows names and counts of devices. It knows no kernel and no configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache

import torch
import triton


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuDevice:
    """What the launchers ask of a GPU: its architecture ("sm_90", "gfx942") and its multiprocessors."""

    arch: str
    num_multiprocessors: int


INTERPRETED = GpuDevice(arch="sm_90", num_multiprocessors=132)
"""The device the interpreter plays, so that it runs the configuration a Hopper GPU would."""

_assumed: ContextVar[GpuDevice | None] = ContextVar("assumed_gpu_device", default=None)


def is_interpreter_active() -> bool:
    """True when Triton interprets kernels in numpy (TRITON_INTERPRET=1): right for proofs, never for timing."""
    return bool(triton.knobs.runtime.interpret)


@contextmanager
def assume_device(device: GpuDevice) -> Iterator[None]:
    """Inside, launchers configure for `device` whatever the tensors lie on: compiling for a GPU that is not here."""
    token = _assumed.set(device)
    try:
        yield
    finally:
        _assumed.reset(token)


def gpu_device_of(tensor: torch.Tensor) -> GpuDevice:
    """The GPU a launch with `tensor` is for.

    Raises: ValueError if the tensor is not on a GPU and the interpreter is not active.
    """
    assumed = _assumed.get()
    if assumed is not None:
        return assumed
    if tensor.is_cuda:
        return _cuda_device(tensor.device.index or 0)
    if is_interpreter_active():
        return INTERPRETED
    raise ValueError(
        f"the gpu backend must get tensors on a GPU, got device {tensor.device}; move them there, or set "
        "TRITON_INTERPRET=1 before Python starts to check numerics without one"
    )


@cache
def _cuda_device(index: int) -> GpuDevice:
    properties = torch.cuda.get_device_properties(index)
    is_amd = torch.version.hip is not None
    arch = properties.gcnArchName.split(":")[0] if is_amd else f"sm_{properties.major}{properties.minor}"
    return GpuDevice(arch=arch, num_multiprocessors=properties.multi_processor_count)
