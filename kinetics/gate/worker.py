"""One side of a comparison: a process that imports one checkout, prepares one case at a time, and runs it when told.

Runs as a script, `python -P worker.py ROOT DEVICE`, and speaks JSON lines on stdin and stdout. Protocol and stopwatch
are the same on both sides, the base's where it has them: `measure/timing.py` is loaded from this script's own checkout,
so that a change to the way of timing cannot pass for a change of speed. All that is timed or proved comes from the
checkout at ROOT, through its `kinetics.measure.prepared_case` alone; revisions from before that module are served by
`revision_before_door.py`, and older ones are refused in one line.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import IO, Any

_CUDA_CANARY_BYTES = 2**30
_WARM_UP_SHARE = 8
"""Part of the canary's bytes that are read before its clock starts, so that the device is at work when it does."""
_MEMORY_SHARE = 0.4
"""Of the device's memory, for the buffers of one worker: there are two, and each has a canary, too."""
_PR_SET_PDEATHSIG = 1
_LOST_DEVICE = ("OutOfMemoryError", "AcceleratorError")
"""torch's; after the second no call works any more, and the first says nothing of the case."""
_LOST_DEVICE_WORDS = ("CUDA error", "illegal memory access")
"""torch's, and Triton's own word for the same fault: `Triton Error [CUDA]: an illegal memory access ...`."""
PROTOCOL = 1
"""Of requests and replies, and of what a reply's numbers mean; another gate looks for this line before it talks."""
DOOR_VERSIONS = (1,)
"""Versions of `kinetics.measure.prepared_case` that this worker can talk to."""
_BEFORE_DOOR = ("kinetics/environment.py", "kinetics/workloads.py", "kinetics/steps/workload.py")
"""What a revision from before the door has, if it is not too old to be judged."""

Reply = dict[str, Any]


class Worker:
    """What one process holds: the device and, between `prepare` and `release`, one case."""

    def __init__(self, root: Path, device_name: str) -> None:
        import torch  # noqa: F401 - the slow part of the start

        self._door = _open_door(root)
        self._stopwatch = _load_beside("measure/timing.py")
        self._device_name = device_name
        self._facts = self._door.describe(device_name)
        self._torch_name: str = self._facts["torch_name"]
        self._is_cuda = self._facts["device_kind"] == "cuda"
        self._cache_bytes: int = self._facts["last_level_cache_bytes"]
        self._canary = _CudaCanary(self._torch_name) if self._is_cuda else None
        self._evict: Callable[[], float] | None = (
            None if self._is_cuda else self._stopwatch.CpuEvictor(self._cache_bytes)
        )
        self._run: Callable[[], Reply] | None = None

    def facts(self) -> Reply:
        """What this machine is, as the checkout sees it."""
        return {name: value for name, value in self._facts.items() if name != "torch_name"}

    def probe(self, dtype: str) -> Reply:
        """The measured ceilings of this device."""
        found: Reply = self._door.measure_ceilings(self._device_name, dtype)
        return found

    def prepare(self, spec: Reply, seed: int) -> Reply:
        """Allocate, prove and warm up one case; say how much work it is."""
        self.release()
        prepared = self._buffers(spec, seed)
        work: Reply = prepared[0].work
        max_abs_error = prepared[0].prove()
        self._run = self._timed([one.call for one in prepared])
        for _ in range(2):
            self._run()
        return {"max_abs_error": max_abs_error, **work}

    def run(self) -> Reply:
        """Run the prepared case once."""
        if self._run is None:
            raise ValueError("run must follow a prepare that succeeded")
        return self._run()

    def release(self) -> Reply:
        """Give the memory of the case back, to the device and so to the other worker."""
        self._run = None
        gc.collect()
        if self._is_cuda:
            import torch

            torch.cuda.empty_cache()
        return {}

    def _buffers(self, spec: Reply, seed: int) -> list[Any]:
        """The case on one set of inputs; on a GPU on as many as push each other out of the cache, and fit."""
        if not self._is_cuda:
            return [self._door.prepare(spec, self._torch_name, seed)]
        import torch

        before = torch.cuda.memory_allocated()
        prepared = [self._door.prepare(spec, self._torch_name, seed)]
        num_buffers = self._stopwatch.num_rotating_buffers(
            self._cache_bytes,
            prepared[0].work["num_bytes"],
            buffer_bytes=torch.cuda.memory_allocated() - before,
            budget_bytes=int(_MEMORY_SHARE * torch.cuda.mem_get_info()[1]),
        )
        return prepared + [self._door.prepare(spec, self._torch_name, seed + one) for one in range(1, num_buffers)]

    def _timed(self, calls: list[Callable[[], object]]) -> Callable[[], Reply]:
        if self._canary is not None:
            return self._timed_on_cuda(calls, self._canary)
        call, evict = calls[0], self._evict
        assert evict is not None

        def once() -> Reply:
            canary = evict()
            start = time.perf_counter()
            call()
            return {"seconds": time.perf_counter() - start, "canary_bytes_per_s": canary}

        return once

    def _timed_on_cuda(self, calls: list[Callable[[], object]], canary: _CudaCanary) -> Callable[[], Reply]:
        """Canary and case are queued before the host waits: no sample holds the launch of what it times."""
        import torch

        run = self._stopwatch.CudaRun(calls, use_graph=True)

        def once() -> Reply:
            seen = canary.queued()
            start, end = run.stamped()
            torch.cuda.synchronize()
            seconds = start.elapsed_time(end) * 1e-3 / run.num_calls
            return {"seconds": seconds, "canary_bytes_per_s": canary.bytes_per_s(*seen)}

        return once


class _CudaCanary:
    """Streams a gibibyte through L2 and tells how fast that went."""

    def __init__(self, torch_name: str) -> None:
        import torch

        self._buffer = torch.ones(_CUDA_CANARY_BYTES // 4, device=torch_name)

    def queued(self) -> tuple[Any, Any]:
        """Queue the stream between two events; return the events."""
        import torch

        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        self._buffer[: len(self._buffer) // _WARM_UP_SHARE].sum()
        start.record()
        self._buffer.sum()
        end.record()
        return start, end

    @staticmethod
    def bytes_per_s(start: Any, end: Any) -> float:
        """How fast it went, once it is done."""
        return _CUDA_CANARY_BYTES / (float(start.elapsed_time(end)) * 1e-3)


def _open_door(root: Path) -> ModuleType:
    """The one module of the checkout that is called, or what stands in for it where the checkout is older.

    Raises: ImportError if `kinetics` comes from elsewhere; ValueError for a revision that cannot be judged.
    """
    import kinetics

    found = Path(kinetics.__file__ or "").resolve()
    if not found.is_relative_to(root.resolve()):
        raise ImportError(f"kinetics came from {found}, not from {root}")
    if (root / "kinetics" / "measure" / "prepared_case.py").exists():
        door = importlib.import_module("kinetics.measure.prepared_case")
    elif all((root / name).exists() for name in _BEFORE_DOOR):
        door = _load_beside("gate/revision_before_door.py")
    else:
        raise ValueError(
            "a revision must have kinetics/measure/prepared_case.py, got neither it nor what came before it"
        )
    if door.VERSION not in DOOR_VERSIONS:
        raise ValueError(
            f"prepared_case.VERSION must be one of {DOOR_VERSIONS}, got {door.VERSION}; judge with a newer gate"
        )
    return door


def _load_beside(name: str) -> ModuleType:
    """A module of this script's own checkout, under a name that hides nothing of the other's."""
    path = Path(__file__).resolve().parents[1] / name
    spec = importlib.util.spec_from_file_location(f"gate_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def _open(root: Path, device_name: str) -> Worker | Reply:
    """A worker, or why this checkout has none: one of any age may raise anything."""
    try:
        return Worker(root, device_name)
    except Exception as error:
        return _refusal(error)


def _answer(worker: Worker, request: Reply) -> Reply:
    try:
        return _done(worker, request)
    except Exception as error:  # the parent decides what it means
        return _refusal(error)


def _done(worker: Worker, request: Reply) -> Reply:
    import torch

    with torch.inference_mode():
        match request["do"]:
            case "run":
                return worker.run()
            case "prepare":
                return worker.prepare(request["spec"], request["seed"])
            case "release":
                return worker.release()
            case "probe":
                return worker.probe(request["dtype"])
            case "facts":
                return worker.facts()
            case unknown:
                raise ValueError(f"do must be run, prepare, release, probe or facts, got {unknown!r}")


def _refusal(error: BaseException) -> Reply:
    """What went wrong, in one line: a wrong result, a lost device, or a case that this checkout cannot run."""
    is_lost = isinstance(error, MemoryError) or type(error).__name__ in _LOST_DEVICE
    is_lost = is_lost or any(words in str(error) for words in _LOST_DEVICE_WORDS)
    kind = "wrong" if isinstance(error, AssertionError) else "lost" if is_lost else "unable"
    lines = str(error).strip().splitlines() or ["no message"]
    return {"refused": kind, "reason": f"{type(error).__name__}: {lines[0]}"}


def _private_stdout() -> IO[str]:
    """The channel to the parent; whatever libraries print goes to stderr from now on."""
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return channel


def _die_with_parent() -> None:
    """A parent that was killed cannot end a call that hangs; the kernel of Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Answer requests until stdin closes, which it does when the parent is gone."""
    _die_with_parent()
    root, device_name = Path(sys.argv[1]), sys.argv[2]
    channel = _private_stdout()
    gc.disable()  # a collection inside a timed call would be measured; `prepare` collects
    sys.path[:0] = [str(root), str(root / "kernels")]
    opened = _open(root, device_name)  # before the first request: twins import side by side
    for line in sys.stdin:
        reply = _answer(opened, json.loads(line)) if isinstance(opened, Worker) else opened
        channel.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    main()
