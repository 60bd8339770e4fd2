"""Loops that do nothing but move memory: what a CPU's bandwidth ceilings are measured with.

Compiled by numba on first use and cached on disk. The read loop keeps independent sums so that it waits for memory,
never for an addition.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

_CHUNK = 1 << 15


@numba.njit(parallel=True, fastmath=True, cache=True)
def read_stream(buffer: npt.NDArray[np.float32]) -> Any:
    """Sum of a contiguous fp32 buffer, read once by all threads together."""
    num_chunks = (buffer.size + _CHUNK - 1) // _CHUNK
    sums = np.zeros(num_chunks, dtype=np.float32)
    for chunk in numba.prange(num_chunks):
        total = np.float32(0.0)
        for i in range(chunk * _CHUNK, min(buffer.size, (chunk + 1) * _CHUNK)):
            total += buffer[i]
        sums[chunk] = total
    return sums.sum()


@numba.njit(parallel=True, cache=True)
def copy_stream(source: npt.NDArray[np.float32], target: npt.NDArray[np.float32]) -> None:
    """Copy one contiguous buffer into another of the same size."""
    num_chunks = (source.size + _CHUNK - 1) // _CHUNK
    for chunk in numba.prange(num_chunks):
        for i in range(chunk * _CHUNK, min(source.size, (chunk + 1) * _CHUNK)):
            target[i] = source[i]


@numba.njit(parallel=True, cache=True)
def empty_region(flags: npt.NDArray[np.float32]) -> None:
    """Start all threads, do nothing, and join them: the fixed price of one parallel call."""
    for i in numba.prange(flags.size):
        flags[i] = 0.0
