"""One stage of a round on a GPU that is no benchmark run; `gpu_round.py` starts them, and so may you.

    python scripts/gpu_stage.py facts|ceilings|sweep|profile|kernel --out DIR

Findings are lines of DIR/findings.jsonl, each on disk before the next is sought; they name the device that they are of.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from kinetics.machine.device import last_level_cache_bytes, resolve_device
from kinetics.machine.facts import machine_facts
from kinetics.measure.prepared_case import measure_ceilings, prepare
from kinetics.measure.timing import CudaRun, num_rotating_buffers

DEVICE: Final = "cuda"
SWEPT: Final = {"tile_tokens": (32, 64, 128), "num_warps": (4, 8), "num_stages": (2, 3, 4, 5)}
"""24 configurations of the split decode kernel."""
NUM_SAMPLES: Final = 15
SECTIONS: Final = ("SpeedOfLight", "MemoryWorkloadAnalysis", "Occupancy", "WarpStateStats", "LaunchStats")

Spec = dict[str, Any]


def specs(*, is_small: bool) -> dict[str, Spec]:
    """The cases that stages look at: what is read most and what is launched most."""
    shared = {"provider": "ours", "page_size": 16, "device_kind": DEVICE, "dtype": "bfloat16"}
    small = {"model": "Qwen3-0.6B", "batch": 1, "context_len": 256, "kv_budget": None}
    if is_small:
        return {
            "dense b1 c256": {**shared, **small, "operation": "dense"},
            "block_topk b1 c256": {**shared, **small, "operation": "block_topk", "kv_budget": 128},
        }
    large = {**shared, "model": "Qwen3-8B", "kv_budget": None}
    return {
        "dense b8 c8k": {**large, "operation": "dense", "batch": 8, "context_len": 8192},
        "dense b1 c32k": {**large, "operation": "dense", "batch": 1, "context_len": 32768},
        "block_topk b1 c32k": {**large, "operation": "block_topk", "batch": 1, "context_len": 32768, "kv_budget": 1024},
        "block_topk b8 c32k": {**large, "operation": "block_topk", "batch": 8, "context_len": 32768, "kv_budget": 1024},
        "search b8 c32k": {**large, "operation": "search", "batch": 8, "context_len": 32768, "kv_budget": 1024},
    }


class Findings:
    """Lines of one file, each on disk before the next."""

    def __init__(self, out: Path) -> None:
        device = resolve_device(DEVICE)
        self._path = out / "findings.jsonl"
        self._facts = {"device": device.name, "kind": device.identity.kind}

    def add(self, stage: str, **found: Any) -> None:
        """Write one line down, and show it."""
        line = json.dumps({"stage": stage, **self._facts, **found})
        print(line, flush=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())


def facts(findings: Findings, *, is_small: bool) -> None:  # noqa: ARG001 - all stages are called alike
    """What the device is, as everything here sees it, and all that nvidia-smi says of it."""
    findings.add("facts", machine_info=machine_facts(resolve_device(DEVICE)))
    if shutil.which("nvidia-smi"):
        subprocess.run(["nvidia-smi", "-q"], check=False, timeout=20)  # noqa: S607 - the driver's own tool


def ceilings(findings: Findings, *, is_small: bool) -> None:
    """The ceilings twice, what a graph of nothing takes, and one kernel against itself."""
    for _ in range(2):
        findings.add("ceilings", ceilings=measure_ceilings(DEVICE, "bfloat16"))
    findings.add("event pair", seconds=statistics.median(_empty_samples()))
    name, spec = next(iter(specs(is_small=is_small).items()))
    with _runs(spec) as make:
        twins = [make(), make()]
        samples = [[_sample(run) for run in twins] for _ in range(4 * NUM_SAMPLES)]
    ratios = [one / other for one, other in samples]
    findings.add("a against a", case=name, ratio=statistics.median(ratios), samples=len(ratios))


def sweep(findings: Findings, *, is_small: bool) -> None:
    """Every configuration of the split decode kernel on the cases that read most: proved, then timed.

    Raises: RuntimeError in the end if none of them ran.
    """
    from kinetics_kernels.gpu_runtime import configs

    arch = next(iter(configs.GPU_CONFIGS)) if is_small else _arch()
    before = configs.gpu_config(arch)
    wanted = list(itertools.product(*SWEPT.values()))[: 2 if is_small else None]
    cases = [(name, spec) for name, spec in specs(is_small=is_small).items() if spec["operation"] != "search"]
    num_timed = 0
    for values in wanted:
        config = replace(before.dense, **dict(zip(SWEPT, values, strict=True)))
        configs.GPU_CONFIGS[arch] = replace(before, dense=config, sparse=config)
        for name, spec in cases:
            found = dict(zip(SWEPT, values, strict=True))
            try:
                with _runs(spec, is_proved=True) as make:
                    run = make()
                    found["median_s"] = statistics.median(_sample(run) for _ in range(NUM_SAMPLES))
                    num_timed += 1
            except Exception as error:  # a configuration that cannot run is a finding, too
                found["refused"] = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
            findings.add("sweep", case=name, **found)
    if not num_timed:
        raise RuntimeError("no configuration ran: see why each was refused")


def profile(findings: Findings, *, is_small: bool) -> None:
    """Nsight Compute on one call of each case; its report goes to the log."""
    tool = shutil.which("ncu")
    if tool is None:
        findings.add("profile", unavailable="ncu is not installed")
        return
    sections = [word for section in SECTIONS for word in ("--section", section)]
    profiled = [tool, *sections, "--target-processes", "all", "--profile-from-start", "off"]
    for name in specs(is_small=is_small):
        words = [sys.executable, __file__, "kernel", "--case", name, "--out", "."]
        done = subprocess.run([*profiled, *words], check=False, timeout=60)  # noqa: S603 - fixed words
        findings.add("profile", case=name, exit_code=done.returncode)


def kernel(case: str, *, is_small: bool) -> None:
    """One call of a case, between the marks that a profiler heeds."""
    import torch

    prepared = prepare(specs(is_small=is_small)[case], resolve_device(DEVICE).torch_name, 0)
    prepared.call()
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    prepared.call()
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()


class _runs:  # noqa: N801 - a context, written as a verb
    """Within it, `make()` gives a run of the case over buffers that push each other out of the cache."""

    def __init__(self, spec: Spec, *, is_proved: bool = False) -> None:
        device = resolve_device(DEVICE)
        first = prepare(spec, device.torch_name, 0)
        if is_proved:
            first.prove()
        num_buffers = num_rotating_buffers(last_level_cache_bytes(device), int(first.work["num_bytes"]), limit=16)
        self._calls = [first.call, *(prepare(spec, device.torch_name, seed).call for seed in range(1, num_buffers))]

    def __enter__(self) -> Callable[[], CudaRun]:
        return lambda: CudaRun(self._calls, use_graph=True)

    def __exit__(self, *raised: object) -> None:
        import torch

        self._calls = []
        gc.collect()
        torch.cuda.empty_cache()


def _sample(run: CudaRun) -> float:
    """Seconds of a call; a pass before it keeps the device busy while what is timed is queued."""
    import torch

    run.repeat()
    start, end = run.stamped()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)) * 1e-3 / run.num_calls


def _empty_samples() -> Iterator[float]:
    """Seconds between two events with nothing between them, on a busy device."""
    import torch

    filler = torch.zeros(2**20, device=resolve_device(DEVICE).torch_name)
    for _ in range(NUM_SAMPLES):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        filler.add_(1.0)
        start.record()
        end.record()
        torch.cuda.synchronize()
        yield float(start.elapsed_time(end)) * 1e-3


def _arch() -> str:
    import torch

    major, minor = torch.cuda.get_device_capability()
    return f"sm_{major}{minor}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = {stage.__name__: stage for stage in (facts, ceilings, sweep, profile)}
    parser.add_argument("stage", choices=[*stages, "kernel"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--case", default="", help="of `kernel`")
    parser.add_argument("--small", action="store_true", help="cases that a pretend device can hold")
    arguments = parser.parse_args()
    import torch

    with torch.inference_mode():
        if arguments.stage == "kernel":
            kernel(arguments.case, is_small=arguments.small)
        else:
            stages[arguments.stage](Findings(arguments.out), is_small=arguments.small)


if __name__ == "__main__":
    main()
