"""A pretend CUDA device for whole runs: its memory is the host's, its kernels the references, its clock the host's.

A pytest plugin, `-p tests.support.pretend_gpu`, or before a script or module: `python -m tests.support.pretend_gpu
SCRIPT ...`, `... -m MODULE ...`. What it times means nothing: result files say `is_pretend`, and cannot be published.
"""

from __future__ import annotations

import os
import runpy
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from kinetics.machine import device as device_module
from kinetics.machine import facts, identity
from kinetics.machine.device import Device
from kinetics.specs.identity import DeviceIdentity
from kinetics_kernels import api
from kinetics_kernels.peer_kinds import gpu_peer
from kinetics_kernels.unavailable import Unavailable

NAME = "Pretend GPU"
KIND = "pretend"
HALVES = (torch.bfloat16, torch.float16)
SUMMING = ("paged_decode", "sparse_paged_decode", "score_pages")
_L2_BYTES = 2**9  # a cell rotates over few buffers: the host computes them all
_MEMORY_BYTES = 4 * 2**30


class _Event:
    def __init__(self, enable_timing: bool = False) -> None:
        self._at = 0.0

    def record(self, stream: object = None) -> None:
        self._at = time.perf_counter()

    def elapsed_time(self, end: _Event) -> float:
        return max(1e-3, 1e3 * (end._at - self._at))


@contextmanager
def _in_context(*arguments: Any, **options: Any) -> Iterator[None]:
    yield


def install() -> None:
    """Put it in the place of torch's first CUDA device, for the rest of this process."""
    _replace_torch_cuda()
    Device.torch_name = property(lambda self: "cpu")  # type: ignore[method-assign, assignment]
    pretend = DeviceIdentity(kind=KIND, name=NAME, facts={})
    for module in (identity, device_module):
        vars(module)["cuda_identity"] = lambda index, name: pretend
    real_facts = facts.machine_facts
    marked = {"is_pretend": True}
    _replace_everywhere("machine_facts", real_facts, lambda device: real_facts(device) | marked)
    resolve = vars(api)["resolve_backend"]
    vars(api)["resolve_backend"] = lambda backend, data, **options: resolve(
        "reference" if backend == "auto" and data.dtype is not torch.float32 else backend, data, **options
    )
    load = vars(api)["load_backend"]
    vars(api)["load_backend"] = lambda operation, backend: _in_float32(load(operation, backend))
    vars(gpu_peer)["try_in_child"] = lambda name, device_type: Unavailable("is not tried on a pretend device")
    from kinetics.bench.machine import BenchMachine
    from kinetics.machine import probe
    from kinetics.measure.timing import CudaRun

    BenchMachine.why_impossible = lambda self, measured: None  # type: ignore[method-assign]  # its ceilings are made up

    vars(probe)["_MATMUL_SIZE"] = {"cpu": 64, "cuda": 64}
    vars(probe)["_cuda_reads"] = lambda buffer: [buffer.sum]
    vars(probe)["_CUDA_STREAM_BYTES"] = 2**20
    vars(probe)["_graph_seconds"] = _eager_seconds
    CudaRun._captured = lambda run, passes: lambda: run._eager(passes)  # type: ignore[method-assign, assignment]


def _in_float32(module: ModuleType) -> SimpleNamespace:
    """A backend that takes half precision and sums in float32, as GPU kernels do."""

    def widened(call: Callable[..., object]) -> Callable[..., object]:
        return lambda q, *rest, **options: call(q.float() if q.dtype in HALVES else q, *rest, **options)

    parts = dict(vars(module))
    return SimpleNamespace(**{name: widened(part) if name in SUMMING else part for name, part in parts.items()})


def _eager_seconds(call: Any, repeats: int) -> Any:
    def seconds() -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return seconds


def _replace_everywhere(name: str, old: object, new: object) -> None:
    """Under this name, wherever it was imported."""
    for module in list(sys.modules.values()):
        if getattr(module, name, None) is old:
            setattr(module, name, new)


def _replace_torch_cuda() -> None:
    properties = SimpleNamespace(
        L2_cache_size=_L2_BYTES, major=9, minor=0, multi_processor_count=132, total_memory=_MEMORY_BYTES, uuid="pretend"
    )
    parts: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "set_device": lambda index: None,
        "get_device_name": lambda index=0: NAME,
        "get_device_properties": lambda index=0: properties,
        "get_device_capability": lambda index=0: (9, 0),
        "mem_get_info": lambda index=0: (_MEMORY_BYTES, _MEMORY_BYTES),
        "memory_allocated": lambda index=0: 0,
        "synchronize": lambda *index: None,
        "empty_cache": lambda: None,
        "device": _in_context,
        "Event": _Event,
    }
    for name, part in parts.items():
        setattr(torch.cuda, name, part)


def main() -> None:
    """Run what the command line names, on the pretend device."""
    install()
    if sys.argv[1] == "-m":
        sys.argv = sys.argv[2:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = sys.argv[1:]
        sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))  # noqa: PTH100, PTH120 - as the interpreter does
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
else:
    install()
