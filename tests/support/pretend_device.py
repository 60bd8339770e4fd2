"""A CUDA device on paper: what is launched takes the time it says, on a timeline that the test reads to the end.

The host and the device each have a clock. A launch costs the host `host_launch_s`, reaches the device `latency_s` later
and runs behind what is queued; events are stamped where the device meets them; only waiting brings the clocks
together. Memory is a number. Kernels are whatever calls `launch`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch

GIB = 2**30


@dataclass
class PretendDevice:
    """One device. `launches`: seconds of every kernel that ran, in order; `busy_s`: their sum."""

    memory_bytes: int = 80 * GIB
    l2_bytes: int = 50 * 2**20
    host_launch_s: float = 5e-6
    latency_s: float = 6e-6
    host_s: float = 0.0
    device_s: float = 0.0
    busy_s: float = 0.0
    allocated_bytes: int = 0
    launches: list[float] = field(default_factory=list)
    capturing: list[float] | None = None
    num_waits: int = 0

    def launch(self, seconds: float) -> None:
        """Queue a kernel that takes so long, or take it into the graph that is being captured."""
        self.host_s += self.host_launch_s
        if self.capturing is not None:
            self.capturing.append(seconds)
            return
        self._run(seconds)

    def replay(self, kernels: list[float]) -> None:
        """Queue the kernels of a graph, which costs the host one launch."""
        self.host_s += self.host_launch_s
        for seconds in kernels:
            self._run(seconds)

    def wait(self) -> None:
        """Let the host wait for all that is queued."""
        self.num_waits += 1
        self.host_s = max(self.host_s, self.device_s)

    def stamp(self) -> float:
        """When the device meets an event that the host queues now."""
        self.device_s = max(self.device_s, self.host_s + self.latency_s)
        return self.device_s

    def allocate(self, num_bytes: int) -> None:
        """Raises: torch.OutOfMemoryError if it is not there."""
        if self.allocated_bytes + num_bytes > self.memory_bytes:
            raise torch.OutOfMemoryError(f"tried to allocate {num_bytes / GIB:.1f} GiB")
        self.allocated_bytes += num_bytes

    def clock(self) -> float:
        """The host's clock."""
        return self.host_s

    def _run(self, seconds: float) -> None:
        self.device_s = max(self.device_s, self.host_s + self.latency_s) + seconds
        self.busy_s += seconds
        self.launches.append(seconds)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> PretendDevice:
        """Put it in the place of torch's first CUDA device."""
        device = self

        class Event:
            def __init__(self, enable_timing: bool = False) -> None:
                self.at: float | None = None

            def record(self, stream: object = None) -> None:
                assert device.capturing is None, "a captured event has no time"
                self.at = device.stamp()

            def elapsed_time(self, end: Event) -> float:
                assert self.at is not None
                assert end.at is not None
                assert device.host_s >= end.at, "elapsed_time must follow a wait"
                return 1e3 * (end.at - self.at)

        class Graph:
            def __init__(self) -> None:
                self.kernels: list[float] = []

            def replay(self) -> None:
                device.replay(self.kernels)

        @contextmanager
        def graph(captured: Graph, **options: Any) -> Iterator[None]:
            device.capturing = captured.kernels
            try:
                yield
            finally:
                device.capturing = None

        properties = SimpleNamespace(
            L2_cache_size=self.l2_bytes,
            major=9,
            minor=0,
            multi_processor_count=132,
            total_memory=self.memory_bytes,
            uuid="pretend",
        )
        parts: dict[str, Any] = {
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "set_device": lambda index: None,
            "get_device_name": lambda index=0: "Pretend GPU",
            "get_device_properties": lambda index=0: properties,
            "get_device_capability": lambda index=0: (9, 0),
            "mem_get_info": lambda index=0: (device.memory_bytes - device.allocated_bytes, device.memory_bytes),
            "memory_allocated": lambda index=0: device.allocated_bytes,
            "synchronize": lambda *index: device.wait(),
            "empty_cache": lambda: None,
            "Event": Event,
            "CUDAGraph": Graph,
            "graph": graph,
        }
        for name, part in parts.items():
            monkeypatch.setattr(torch.cuda, name, part)
        return self
