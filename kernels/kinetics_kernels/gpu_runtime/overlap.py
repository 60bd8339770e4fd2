"""Programmatic dependent launch: a kernel may be launched before the one before it in the stream has ended.

Launching then costs nothing, but every program must wait before it touches memory that the kernels before it write or
read, and every kernel of the chain must wait, or the one after it would overtake the one before.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

from kinetics_kernels.gpu_runtime.device import is_interpreter_active

if is_interpreter_active():
    # Launches are one after the other there, and inline assembly is unknown.
    def gdc_wait() -> None:
        """Nothing to wait for."""

    def gdc_launch_dependents() -> None:
        """Nobody to launch."""


@triton.jit
def wait_for_previous(IS_OVERLAPPED: tl.constexpr):
    """The first statement of every kernel: wait for the kernel before, then let the one after be launched."""
    if IS_OVERLAPPED:
        gdc_wait()
        gdc_launch_dependents()


def overlap_options(*, is_overlapped: bool) -> dict[str, bool]:
    """How to launch a kernel; compilers for other vendors know no such option."""
    return {"launch_pdl": True} if is_overlapped else {}
