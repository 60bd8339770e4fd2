"""One side of a comparison: a process that imports one checkout, prepares one case at a time, and runs it when told.

Runs as a script, `python -P worker.py ROOT DEVICE`, and speaks JSON lines on stdin and stdout. The protocol and the
stopwatch are the candidate's on both sides: `measure.py` is loaded from beside this script, so that a change to the
way of timing cannot pass for a change of speed. Everything that is timed or proved comes from the checkout at ROOT,
through its public functions; one that is too old for them is refused with its own exception as the reason.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NamedTuple

_CUDA_CANARY_BYTES = 2**30
_PR_SET_PDEATHSIG = 1
_LOST_DEVICE = ("OutOfMemoryError", "AcceleratorError")
"""torch's; after the second no call works any more, and the first says nothing of the case."""
_LOST_DEVICE_WORDS = ("CUDA error", "illegal memory access")
"""torch's, and Triton's own word for the same fault: `Triton Error [CUDA]: an illegal memory access ...`."""
_STEP = "step"
"""`kinetics.gate.cases.STEP`: this script imports nothing of its own checkout."""

Reply = dict[str, Any]


class Worker:
    """What one process holds: the device and, between `prepare` and `release`, one case."""

    def __init__(self, root: Path, device_name: str) -> None:
        import torch  # noqa: F401 - the slow part of the start

        from kinetics import environment

        if not Path(environment.__file__).resolve().is_relative_to(root.resolve()):
            raise ImportError(f"kinetics came from {environment.__file__}, not from {root}")
        self._stopwatch = _load_stopwatch()
        self._device = environment.resolve_device(device_name)
        self._cache_bytes = environment.last_level_cache_bytes(self._device)
        self._evict: Callable[[], float] = (
            self._stopwatch.CpuEvictor(self._cache_bytes)
            if self._device.kind == "cpu"
            else _CudaCanary(self._device.torch_name)
        )
        self._run: Callable[[], Reply] | None = None

    def facts(self) -> Reply:
        """What this machine is, as the checkout sees it."""
        from kinetics.environment import machine_facts

        return machine_facts(self._device)

    def probe(self, dtype: str) -> Reply:
        """The measured ceilings of this device."""
        from kinetics.probe import probe

        return asdict(probe(self._device, dtype).ceilings)

    def prepare(self, spec: Reply, seed: int) -> Reply:
        """Allocate, prove and warm up one case; say how much work it is."""
        self._run = None
        gc.collect()
        job = _step_job(spec) if spec["operation"] == _STEP else _kernel_job(spec)
        num_buffers = 1
        if self._device.kind == "cuda":
            num_buffers = self._stopwatch.num_rotating_buffers(self._cache_bytes, job.work["num_bytes"])
        prepared = [job.make(self._device.torch_name, seed + buffer) for buffer in range(num_buffers)]
        max_abs_error = prepared[0].prove()
        self._run = self._timed([one.call for one in prepared])
        for _ in range(2):
            self._run()
        return {"max_abs_error": max_abs_error, **job.work}

    def run(self) -> Reply:
        """Run the prepared case once."""
        if self._run is None:
            raise ValueError("run must follow a prepare that succeeded")
        return self._run()

    def release(self) -> Reply:
        """Give the memory of the case back."""
        self._run = None
        gc.collect()
        return {}

    def _timed(self, calls: list[Callable[[], object]]) -> Callable[[], Reply]:
        if self._device.kind == "cuda":
            return self._timed_on_cuda(calls)
        call, evict = calls[0], self._evict

        def once() -> Reply:
            canary = evict()
            start = time.perf_counter()
            call()
            return {"seconds": time.perf_counter() - start, "canary_bytes_per_s": canary}

        return once

    def _timed_on_cuda(self, calls: list[Callable[[], object]]) -> Callable[[], Reply]:
        import torch

        run, evict = self._stopwatch.CudaRun(calls, use_graph=True), self._evict

        def once() -> Reply:
            canary = evict()
            start, end = run.stamped()
            torch.cuda.synchronize()
            return {"seconds": start.elapsed_time(end) * 1e-3 / run.num_calls, "canary_bytes_per_s": canary}

        return once


class _CudaCanary:
    """Streams a gibibyte through L2 and tells how fast that went."""

    def __init__(self, torch_name: str) -> None:
        import torch

        self._buffer = torch.ones(_CUDA_CANARY_BYTES // 4, device=torch_name)

    def __call__(self) -> float:
        import torch

        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        self._buffer.sum()
        end.record()
        torch.cuda.synchronize()
        return _CUDA_CANARY_BYTES / (float(start.elapsed_time(end)) * 1e-3)


def _load_stopwatch() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "measure.py"
    spec = importlib.util.spec_from_file_location("gate_stopwatch", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


class _Prepared(NamedTuple):
    """A call to time, and the proof that it is right."""

    call: Callable[[], object]
    prove: Callable[[], float]


class _Job(NamedTuple):
    """One case of the checkout: its bytes, FLOP and launches, and how to make it on a device with a seed."""

    work: Reply
    make: Callable[[str, int], _Prepared]


def _kernel_job(spec: Reply) -> _Job:
    from kinetics import workloads
    from kinetics.grid import CacheState, Case, Cell, Operation
    from kinetics.model_specs import find_model

    cell = Cell(
        model=find_model(spec["model"]),
        batch=spec["batch"],
        context_len=spec["context_len"],
        page_size=spec["page_size"],
        device_kind=spec["device_kind"],
        dtype=spec["dtype"],
        cache_state=CacheState.COLD,
        is_graph=spec["device_kind"] == "cuda",
    )
    case = Case(
        cell=cell, operation=Operation(spec["operation"]), provider=spec["provider"], kv_budget=spec["kv_budget"]
    )

    def make(device: str, seed: int) -> _Prepared:
        prepared = workloads.prepare(case, workloads.make_cell_inputs(cell, device=device, seed=seed))
        return _Prepared(call=prepared.call, prove=prepared.prove)

    work = asdict(workloads.work_of(case)) | {"num_launches": workloads.NUM_LAUNCHES[case.operation]}
    return _Job(work=work, make=make)


def _step_job(spec: Reply) -> _Job:
    from kinetics.model_specs import find_model
    from kinetics.steps.cost import step_parts
    from kinetics.steps.grid import StepCase, StepCell, StepPolicy
    from kinetics.steps.proof import prove_step
    from kinetics.steps.workload import make_step_workload

    cell = StepCell(
        model=find_model(spec["model"]),
        layer_counts=(spec["num_layers"],),
        batch=spec["batch"],
        context_len=spec["context_len"],
        page_size=spec["page_size"],
        device_kind=spec["device_kind"],
        dtype=spec["dtype"],
        is_graph=spec["device_kind"] == "cuda",
    )
    case = StepCase(
        cell=cell, policy=StepPolicy(spec["policy"]), num_layers=spec["num_layers"], kv_budget=spec["kv_budget"]
    )

    def make(device: str, seed: int) -> _Prepared:
        workload = make_step_workload(cell, device=device, seed=seed)
        call = workload.call(case.num_layers, workload.attention_of(case))
        return _Prepared(call=call, prove=lambda: prove_step(workload, case))

    parts = step_parts(case.shape).values()
    work = {name: sum(getattr(part, name) for part in parts) for name in ("num_bytes", "flop")}
    return _Job(work=work | {"num_launches": case.shape.num_launches}, make=make)


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
