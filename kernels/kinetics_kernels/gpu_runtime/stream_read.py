"""Reads memory once, as fast as a kernel here can: the ceiling that attention is held against.

torch's own sums stop short of what attention reaches, and a ceiling below what is measured proves nothing. A few
programs per multiprocessor walk over the buffer side by side, 64 bytes a thread and step, and join what they read by
exclusive or, so that no load can be left out.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from kinetics_kernels.gpu_runtime.device import gpu_device_of

BLOCK = 4096
"""Elements that a program reads at a step; a buffer holds a whole number of them, so that no load is masked."""
_NUM_WARPS = 8
_PROGRAMS_PER_MULTIPROCESSOR = 4


@triton.jit(do_not_specialize=["num_elements"])
def stream_read_kernel(source_ptr, joined_ptr, num_elements, BLOCK: tl.constexpr):
    """Join this program's share of the elements."""
    program, num_programs = tl.program_id(0).to(tl.int64), tl.num_programs(0)
    joined = tl.zeros([BLOCK], dtype=tl.int32)
    # int64: a buffer of more than 8 GiB has more than 2**31 elements.
    for start in range(program * BLOCK, num_elements, num_programs * BLOCK):
        joined ^= tl.load(source_ptr + start + tl.arange(0, BLOCK))
    tl.store(joined_ptr + program, tl.xor_sum(joined, axis=0))


def allocate_joined(buffer: torch.Tensor) -> torch.Tensor:
    """One int32 for every program of `stream_read` over this buffer."""
    num_programs = _PROGRAMS_PER_MULTIPROCESSOR * gpu_device_of(buffer).num_multiprocessors
    return torch.empty(num_programs, dtype=torch.int32, device=buffer.device)


def stream_read(buffer: torch.Tensor, joined: torch.Tensor) -> None:
    """Read `buffer`, contiguous int32; each program leaves what it read, joined by exclusive or, in `joined`.

    Raises: ValueError unless the buffer is a whole number of `BLOCK` elements.
    """
    if buffer.numel() % BLOCK:
        raise ValueError(f"a buffer must hold a multiple of {BLOCK} elements, got {buffer.numel()}; cut it")
    stream_read_kernel[(len(joined),)](buffer, joined, buffer.numel(), BLOCK=BLOCK, num_warps=_NUM_WARPS)
