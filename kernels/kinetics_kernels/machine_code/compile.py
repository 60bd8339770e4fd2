"""What the compilers make of our GPU kernels, for GPUs that need not be here.

The launchers run on tensors without data, each launch is caught with its exact arguments, specialised as Triton would
specialise it, compiled ahead of time, and the assembly counted. So a change in machine code shows on any machine, and
a launcher that asks a tensor for its values fails: it could not be captured in a CUDA graph.

This file knows assembly, not speed: nothing here runs on a GPU.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend
from triton.runtime.jit import JITFunction, create_function_from_signature

from kinetics_kernels.gpu_runtime.device import GpuDevice, assume_device

TARGETS: dict[str, GPUTarget] = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "sm_120": GPUTarget("cuda", 120, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
"""The architectures every kernel must compile for."""

NUM_MULTIPROCESSORS = 132
"""Of the device assumed while recording: it decides split counts, never machine code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One kernel launch as its launcher made it."""

    kernel: JITFunction[Any]
    args: tuple[Any, ...]
    options: Mapping[str, Any]
    grid: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineCode:
    """What one compiled kernel needs and contains.

    `local_bytes`: stack, spills and scratch per thread. `loop_async_copies`: 16-byte asynchronous copies in the loop
    that holds the tensor-core instructions. `wide_loads`: 16-byte loads into registers.
    """

    registers: int
    shared_bytes: int
    local_bytes: int
    instructions: int
    tensor_core_instructions: int
    loop_async_copies: int
    wide_loads: int


@contextmanager
def record_launches(arch: str) -> Iterator[list[Launch]]:
    """Catch every kernel launch inside, for a GPU of this architecture, instead of launching it."""
    launches: list[Launch] = []
    original = JITFunction.run

    def catch(kernel: JITFunction[Any], *args: Any, grid: tuple[int, ...], warmup: bool, **options: Any) -> None:
        del warmup
        launches.append(Launch(kernel=kernel, args=args, options=options, grid=grid))

    JITFunction.run = catch
    try:
        with assume_device(GpuDevice(arch=arch, num_multiprocessors=NUM_MULTIPROCESSORS)):
            yield launches
    finally:
        JITFunction.run = original


def compile_launch(launch: Launch, arch: str) -> MachineCode:
    """Compile one launch for an architecture of TARGETS and count its assembly."""
    compiled = _compiled(launch, arch)
    if TARGETS[arch].backend == "hip":
        return count_amdgcn(compiled.asm["amdgcn"], shared_bytes=compiled.metadata.shared)
    usage, sass = _disassemble(compiled.asm["cubin"])
    return count_sass(sass, usage, shared_bytes=compiled.metadata.shared)


def assembly_of(launch: Launch, arch: str) -> list[str]:
    """The instructions of one launch for an NVIDIA architecture of TARGETS, in order."""
    _, sass = _disassemble(_compiled(launch, arch).asm["cubin"])
    return re.findall(r"/\*[0-9a-f]{4,}\*/\s+([^;]*);", sass)


def _compiled(launch: Launch, arch: str) -> Any:
    target = TARGETS[arch]
    backend = make_backend(target)
    kernel, options = launch.kernel, {**launch.options, "debug": False}
    options["instrumentation_mode"] = triton.knobs.compilation.instrumentation_mode
    binder = create_function_from_signature(kernel.signature, kernel.params, backend)
    bound, specialization, parsed = binder(*launch.args, **options)
    parsed, signature, constants, attributes = kernel._pack_args(backend, options, bound, specialization, parsed)
    source = ASTSource(kernel, signature, constants, attributes)
    return triton.compile(source, target=target, options=parsed.__dict__)


def _disassemble(cubin: bytes) -> tuple[str, str]:
    """Resource usage and SASS, by the cuobjdump of triton's wheel."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        command = [triton.knobs.nvidia.cuobjdump.path]
        usage = subprocess.run([*command, "-res-usage", path], capture_output=True, text=True, check=True)  # noqa: S603 - the wheel's own tool
        sass = subprocess.run([*command, "-sass", path], capture_output=True, text=True, check=True)  # noqa: S603 - idem
    return usage.stdout, sass.stdout


def count_sass(sass: str, usage: str, *, shared_bytes: int) -> MachineCode:
    """Count NVIDIA assembly."""
    used = {name: int(count) for name, count in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)}
    code = [(int(address, 16), text) for address, text in re.findall(r"/\*([0-9a-f]{4,})\*/\s+([^;]*);", sass)]
    code = [(address, text) for address, text in code if not text.startswith("NOP")]
    loop = _tensor_core_loop(code)
    return MachineCode(
        registers=used["REG"],
        shared_bytes=shared_bytes,
        local_bytes=used["STACK"] + used["LOCAL"],
        instructions=len(code),
        tensor_core_instructions=_count(r"\b[HUQ]?GMMA|\bU?[HI]MMA|\bUTC\w*MMA", code),
        loop_async_copies=_count(r"LDGSTS\.E\.BYPASS(\.\w+)*\.128", loop),
        wide_loads=_count(r"LDG\.E(\.\w+)*\.128", code),
    )


def _tensor_core_loop(code: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """The instructions of the longest loop with tensor-core instructions."""
    longest: list[tuple[int, str]] = []
    for address, text in code:
        branch = re.search(r"\bBRA\b.*0x([0-9a-f]+)", text)
        if branch and int(branch[1], 16) < address:
            body = [line for line in code if int(branch[1], 16) <= line[0] <= address]
            if len(body) > len(longest) and _count("MMA", body):
                longest = body
    return longest


def _count(pattern: str, code: list[tuple[int, str]]) -> int:
    return sum(bool(re.search(pattern, text)) for _, text in code)


def count_amdgcn(assembly: str, *, shared_bytes: int) -> MachineCode:
    """Count AMD assembly; it has no asynchronous copies, so its wide loads are those of the main loop too."""
    used = {name: int(count) for name, count in re.findall(r"\.(\w+):\s+(\d+)\s*$", assembly, re.MULTILINE)}
    code = [line for line in assembly.splitlines() if re.match(r"\t[a-z]+_\w+", line)]
    return MachineCode(
        registers=used["vgpr_count"],
        shared_bytes=shared_bytes,
        local_bytes=used["private_segment_fixed_size"] + used["vgpr_spill_count"] * 4,
        instructions=len(code),
        tensor_core_instructions=sum("v_mfma" in line for line in code),
        loop_async_copies=0,
        wide_loads=sum(bool(re.search(r"(global|buffer)_load_dwordx4", line)) for line in code),
    )
