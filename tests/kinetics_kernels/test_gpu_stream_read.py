"""The streaming read leaves out no element, whatever its number: run by test_gpu_interpreter.py without a device."""

from functools import reduce
from operator import xor

import pytest
import torch

from tests.support.kernel_setting import DEVICE, skip_module_unless_kernels_run

skip_module_unless_kernels_run()

pytestmark = pytest.mark.kernel


NUM_PROGRAMS = 12
"""Fewer than a device gets: without one, each adds half a second."""


@pytest.mark.parametrize("num_blocks", [1, 7, 11, 12, 13, 31])
def test_every_element_is_read(num_blocks: int) -> None:
    from kinetics_kernels.gpu_runtime.stream_read import BLOCK, allocate_joined, stream_read

    buffer = torch.randint(-(2**31), 2**31 - 1, (num_blocks * BLOCK,), dtype=torch.int32, device=DEVICE)
    joined = allocate_joined(buffer)[:NUM_PROGRAMS].fill_(-1)
    stream_read(buffer, joined)
    assert reduce(xor, joined.tolist()) == reduce(xor, buffer.tolist())


def test_a_rest_that_would_not_be_read_is_refused() -> None:
    from kinetics_kernels.gpu_runtime.stream_read import BLOCK, allocate_joined, stream_read

    buffer = torch.zeros(BLOCK + 1, dtype=torch.int32, device=DEVICE)
    with pytest.raises(ValueError, match=f"multiple of {BLOCK} elements"):
        stream_read(buffer, allocate_joined(buffer))
