"""This machine's measured ceilings: read, cached read and copy bandwidth, matmul rate, and the price of a launch.

Ceilings are the best of many samples, since noise only ever slows a machine down; the median stands beside each so
that a reader sees how quiet the machine was. Nothing here comes from a datasheet.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from kinetics.machine.device import Device, last_level_cache_bytes
from kinetics.specs.ceilings import Ceilings

if TYPE_CHECKING:
    import torch

_CPU_STREAM_BYTES = 256 * 2**20
_CPU_STREAM_CACHES = 4
_CUDA_STREAM_BYTES = 2**30
_MATMUL_SIZE = {"cpu": 1024, "cuda": 8192}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """The ceilings, and the median that each rate had while its best was found."""

    ceilings: Ceilings
    dtype: str
    medians: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers for a result file."""
        return {**asdict(self.ceilings), "dtype": self.dtype, "medians": self.medians}


def probe(device: Device, dtype: str, *, seconds_each: float = 0.6) -> ProbeResult:
    """Measure every ceiling of `device`, spending about `seconds_each` on each. `dtype` is that of the matmul."""
    rates = _cuda_rates(device, dtype) if device.kind == "cuda" else _cpu_rates(device, dtype)
    best, medians = {}, {}
    for name, candidates in rates.items():
        samples = [sample for call in candidates for sample in _samples(call, seconds_each / len(candidates))]
        pick = min if name == "launch_s" else max
        best[name], medians[name] = pick(samples), statistics.median(samples)
    ceilings = Ceilings(**best, cache_bytes=last_level_cache_bytes(device))
    return ProbeResult(ceilings=ceilings, dtype=dtype, medians=medians)


Rate = Callable[[], float]


def _samples(rate: Rate, seconds: float) -> Iterable[float]:
    rate()
    deadline = time.perf_counter() + seconds
    yield rate()
    while time.perf_counter() < deadline:
        yield rate()


def _cpu_rates(device: Device, dtype: str) -> dict[str, list[Rate]]:
    """By torch, on the threads and in the memory that the benches use; the launch is a call on one element."""
    import torch

    large = torch.ones(max(_CPU_STREAM_CACHES * last_level_cache_bytes(device), _CPU_STREAM_BYTES) // 4)
    target = torch.empty_like(large)
    small = torch.ones(last_level_cache_bytes(device) // 4 // 4)
    square = torch.randn(_MATMUL_SIZE["cpu"], _MATMUL_SIZE["cpu"]).to(getattr(torch, dtype))
    one = torch.zeros(1)

    def reads(buffer: torch.Tensor) -> list[Rate]:
        return [lambda: buffer.nbytes / _seconds(buffer.sum), lambda: buffer.nbytes / _seconds(buffer.amax)]

    copied_bytes, flop = 2 * large.nbytes, 2 * _MATMUL_SIZE["cpu"] ** 3
    return {
        "read_bytes_per_s": reads(large),
        "cached_read_bytes_per_s": reads(small),
        "copy_bytes_per_s": [lambda: copied_bytes / _seconds(lambda: target.copy_(large))],
        "matmul_flop_per_s": [lambda: flop / _seconds(lambda: square @ square)],
        "launch_s": [lambda: _seconds(lambda: one.add_(1.0))],
    }


def _cuda_rates(device: Device, dtype: str) -> dict[str, list[Rate]]:
    """The same ceilings on a GPU, each call repeated inside one CUDA graph so that launches do not count."""
    import torch

    cache_bytes = last_level_cache_bytes(device)
    with torch.cuda.device(device.index):
        large = torch.randn(max(8 * cache_bytes, _CUDA_STREAM_BYTES) // 4, device=device.torch_name)
        small = torch.randn(cache_bytes // 4 // 4, device=device.torch_name)
        target = torch.empty_like(large)
        square = torch.randn(_MATMUL_SIZE["cuda"], _MATMUL_SIZE["cuda"], device=device.torch_name)
        square = square.to(getattr(torch, dtype))
        one = torch.zeros(1, device=device.torch_name)

    def reads(buffer: torch.Tensor) -> list[Rate]:
        graphs = [_graph_seconds(call, 10) for call in _cuda_reads(buffer)]
        return [lambda seconds=seconds: buffer.nbytes / seconds() for seconds in graphs]  # type: ignore[misc]

    copied, multiplied = _graph_seconds(lambda: target.copy_(large), 5), _graph_seconds(lambda: square @ square, 5)
    launched = _graph_seconds(lambda: one.add_(1.0), 200)
    return {
        "read_bytes_per_s": reads(large),
        "cached_read_bytes_per_s": reads(small),
        "copy_bytes_per_s": [lambda: 2 * large.nbytes / copied()],
        "matmul_flop_per_s": [lambda: 2 * _MATMUL_SIZE["cuda"] ** 3 / multiplied()],
        "launch_s": [launched],
    }


def _cuda_reads(buffer: torch.Tensor) -> list[Callable[[], object]]:
    """Ways to read a float32 buffer once: torch's reductions, which attention can beat, and a kernel of ours."""
    import torch

    as_int = buffer.view(torch.int32)
    calls: list[Callable[[], object]] = [buffer.sum, buffer.amax, as_int.amax]
    if importlib.util.find_spec("triton") is None:
        return calls
    from kinetics_kernels.gpu_runtime.stream_read import BLOCK, allocate_joined, stream_read

    whole = as_int[: buffer.numel() // BLOCK * BLOCK]
    joined = allocate_joined(whole)
    return [*calls, lambda: stream_read(whole, joined)]


def _graph_seconds(call: Callable[[], object], repeats: int) -> Rate:
    """Seconds per call, `repeats` of them captured in one graph and timed by events.

    One replay goes before the first event: an idle device would meet it, and wait for the launch of what is timed.
    """
    import torch

    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(repeats):
            call()

    def seconds() -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        graph.replay()
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        return float(start.elapsed_time(end)) * 1e-3 / repeats

    return seconds


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
