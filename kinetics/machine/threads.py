"""How many CPU threads torch and the kernels that follow it use, for as long as something asks for it.

A number set for one piece of work and left behind makes everything after it slower, in silence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cpu_threads(num_threads: int) -> Iterator[None]:
    """Within it torch uses so many threads of this process; afterwards as many as before.

    Raises: ValueError if there is not at least one.
    """
    import torch

    if num_threads < 1:
        raise ValueError(f"the number of threads must be at least 1, got {num_threads}")
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
