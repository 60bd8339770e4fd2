"""Counters in device memory by which the programs of a launch find out who of them is the last: zero between launches.

Launches of one stream take turns, so they share counters; streams do not. A graph belongs to the stream it was captured
on: two of one stream must not be replayed at the same time.
"""

from __future__ import annotations

import torch

LEAST_COUNTERS = 4096

_by_stream: dict[tuple[torch.device, int], torch.Tensor] = {}


def zero_counters(count: int, device: torch.device) -> torch.Tensor:
    """At least `count` int32 zeros for the next launch on the current stream, which must leave them zero.

    Raises: RuntimeError if they would have to be allocated while a graph is captured.
    """
    stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
    counters = _by_stream.get((device, stream))
    if counters is None or len(counters) < count:
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(f"{count} counters must exist before a graph is captured, got none; call once before")
        counters = torch.zeros(max(LEAST_COUNTERS, count), dtype=torch.int32, device=device)
        _by_stream[device, stream] = counters
    return counters
