"""Run compiled code on the threads torch already has, so that the two never compete for cores.

torch's OpenMP workers keep spinning for milliseconds after an operation. A second pool (numba's own) would share
its cores with them: dense decode was measured a third slower right after a torch operation. Calling the entry point
OpenMP compilers emit puts the work on torch's workers instead, which are still awake; `torch.set_num_threads` holds
for both. Where torch's OpenMP has no such entry point, plain Python threads do the same work.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch

Body = Any
"""A numba cfunc of one argument, the address of its record; every thread runs it once, to the end."""
RunOnThreads = Callable[[int, int, int], None]
Record = TypeVar("Record", bound=ctypes.Structure)


MIN_ELEMENTS_PER_THREAD = 1 << 16
"""Work on fewer elements ends before a second thread has begun; on a busy machine waiting for it costs milliseconds."""


def arguments_of(record_type: type[Record], **fields: float) -> Record:
    """A record of this type from its fields by name, all of them but `counter`."""
    assert len(fields) == len(record_type._fields_) - 1, f"{record_type.__name__} got only {list(fields)}"
    assert all(hasattr(record_type, name) for name in fields), f"{record_type.__name__} lacks one of {list(fields)}"
    return record_type(**fields)


def run_on_threads(body: Body, arguments: ctypes.Structure, *, num_elements: int) -> None:
    """Run `body` on as many of torch's threads as work on `num_elements` is worth, all with the same arguments.

    The record's field `counter` is given the address of an int64 that starts at 0: threads share their work by it.
    """
    counter = ctypes.c_int64(0)
    arguments.counter = ctypes.addressof(counter)
    num_threads = max(1, min(torch.get_num_threads(), num_elements // MIN_ELEMENTS_PER_THREAD))
    if num_threads == 1:
        # Not a team of one: torch's next operation would have to start its second thread anew.
        body.ctypes(ctypes.addressof(arguments))
    else:
        _pool()(body.address, ctypes.addressof(arguments), num_threads)


@cache
def _pool() -> RunOnThreads:
    return _torch_openmp() or run_on_python_threads


def _torch_openmp() -> RunOnThreads | None:
    library = next(Path(torch.__file__).parent.glob("lib/*torch_cpu.*"), None)
    if library is None:
        return None
    try:
        # Looked up through torch's library, the symbol is that of the OpenMP runtime torch itself runs on.
        parallel = ctypes.CDLL(str(library)).GOMP_parallel
    except (OSError, AttributeError):
        return None
    parallel.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    parallel.restype = None
    return lambda address, arguments, num_threads: parallel(address, arguments, num_threads, 0)


def run_on_python_threads(address: int, arguments: int, num_threads: int) -> None:
    """Run the function at an address once per thread; it holds no Python lock while it runs."""
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)
    others = [threading.Thread(target=function, args=(arguments,)) for _ in range(num_threads - 1)]
    for thread in others:
        thread.start()
    function(arguments)
    for thread in others:
        thread.join()
