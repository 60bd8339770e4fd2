"""How many machine instructions a case's compiled kernels execute: counted, not sampled, on however busy a CPU.

Each basic block of a kernel's own assembly gets a counter in front of it, the result is assembled and called in the
kernel's place, and every block's count is multiplied by its instructions. Needs no performance counter, no permission
and no emulator, and knows every instruction set that LLVM knows; the counters themselves are written for x86-64. What
kernels call in libraries, what torch does and what Python does is not counted.
"""

from __future__ import annotations

import ctypes
import platform
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from .assembly import assembly_of

MAX_DIFFERENCE = 1e-3
"""Between two calls of the same code: threads that share items leave their loops one item sooner or later."""
MACHINES = ("x86_64", "AMD64")
_LABEL = re.compile(r"[A-Za-z_.$][\w.$]*:")
_SECTION = re.compile(r'\s*\.section\s+[^,\s]+,"(\w*)"')
_ENDS_BLOCK = re.compile(r"\s*(j\w+|ret\w*|loop\w*|ud2)\b")
_COUNT = """\
	leaq	-128(%rsp), %rsp
	pushfq
	pushq	%rax
	movabsq	${address}, %rax
	lock	incq	(%rax)
	popq	%rax
	popfq
	leaq	128(%rsp), %rsp"""
"""Leaves registers, flags and the 128 bytes below the stack, which are the function's, as they were."""


class Block(NamedTuple):
    """A run of instructions that is entered at its first: the line it starts at, and how many there are."""

    first_line: int
    num_instructions: int


def basic_blocks(lines: list[str]) -> list[Block]:
    """The blocks of a file of assembly, in order: a label or the end of another block begins one."""
    blocks: list[Block] = []
    is_code, begins = True, True
    for number, line in enumerate(lines):
        if section := _SECTION.match(line):
            is_code = "x" in section[1]
        elif line.strip() == ".text":
            is_code = True
        elif _LABEL.match(line):
            begins = True
        elif is_code and line.strip() and line.strip()[0] not in ".#":
            if begins:
                blocks.append(Block(first_line=number, num_instructions=0))
            blocks[-1] = blocks[-1]._replace(num_instructions=blocks[-1].num_instructions + 1)
            begins = bool(_ENDS_BLOCK.match(line))
    return blocks


def with_counters(lines: list[str], blocks: list[Block], address: int) -> str:
    """The assembly with code in front of every block that counts, in the int64 of its own from `address` on."""
    counting = list(lines)
    for index, block in enumerate(blocks):
        counter = _COUNT.format(address=address + index * ctypes.sizeof(ctypes.c_int64))
        counting[block.first_line] = f"{counter}\n{lines[block.first_line]}"
    return "\n".join(counting)


class CountedKernel:
    """A compiled callback whose blocks count themselves. `ctypes` and `address` stand in for the callback's own."""

    def __init__(self, callback: Any) -> None:
        lines = assembly_of(callback._library, callback.__name__).splitlines()
        self._blocks = basic_blocks(lines)
        self._counts = (ctypes.c_int64 * len(self._blocks))()
        text = with_counters(lines, self._blocks, ctypes.addressof(self._counts))
        self._engine = assembled(text)
        self.address = int(self._engine.get_function_address(callback.native_name))
        self.ctypes = type(callback.ctypes)(self.address)

    def num_instructions(self) -> int:
        """Executed since the last time this was asked."""
        total = sum(
            int(count) * block.num_instructions for count, block in zip(self._counts, self._blocks, strict=True)
        )
        ctypes.memset(self._counts, 0, ctypes.sizeof(self._counts))
        return total


def assembled(text: str) -> Any:
    """An engine that holds the functions of this assembly."""
    from llvmlite import binding  # type: ignore[import-untyped]

    binding.initialize_native_asmparser()
    target = binding.Target.from_triple(binding.get_process_triple())
    features = binding.get_host_cpu_features().flatten()
    machine = target.create_target_machine(
        cpu=binding.get_host_cpu_name(), features=features, codemodel="jitdefault", jit=True
    )
    escaped = (line.replace("\\", "\\5C").replace('"', "\\22") for line in text.splitlines())
    module = binding.parse_assembly("\n".join(f'module asm "{line}"' for line in escaped))
    module.triple = binding.get_process_triple()
    code = machine.emit_object(module)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


@contextmanager
def counted_kernels() -> Iterator[dict[Any, CountedKernel]]:
    """Put a counting twin in the place of every compiled callback that is called inside."""
    from numba.core.ccallback import CFunc

    twins: dict[Any, CountedKernel] = {}
    originals = {name: vars(CFunc)[name] for name in ("address", "ctypes")}

    def twin_of(callback: Any) -> CountedKernel:
        if callback not in twins:
            _restore(CFunc, originals)  # the twin asks for the callback's own
            twins[callback] = CountedKernel(callback)
            _replace(CFunc, twin_of)
        return twins[callback]

    _replace(CFunc, twin_of)
    try:
        yield twins
    finally:
        _restore(CFunc, originals)


def _replace(kind: Any, twin_of: Callable[[Any], CountedKernel]) -> None:
    kind.address = property(lambda callback: twin_of(callback).address)
    kind.ctypes = property(lambda callback: twin_of(callback).ctypes)


def _restore(kind: Any, originals: dict[str, Any]) -> None:
    for name, original in originals.items():
        setattr(kind, name, original)


def count_instructions(call: Callable[[], object]) -> dict[str, int]:
    """Instructions that each compiled kernel executes in one call, by name.

    Raises: ValueError where they cannot be counted, or where two calls differ.
    """
    if platform.machine() not in MACHINES:
        raise ValueError(f"instructions are counted on {MACHINES[0]}, got {platform.machine()}")
    with counted_kernels() as twins:
        call()
        _taken(twins)
        counts = [_counted(call, twins) for _ in range(2)]
    if not counts[0]:
        raise ValueError("a call must run kernels compiled by numba to have its instructions counted, got none")
    first, second = counts
    if any(abs(first[name] - second.get(name, 0)) > MAX_DIFFERENCE * first[name] for name in first):
        raise ValueError(f"two calls must execute the same instructions to 0.1 %, got {first} and {second}")
    return first


def _counted(call: Callable[[], object], twins: dict[Any, CountedKernel]) -> dict[str, int]:
    call()
    return _taken(twins)


def _taken(twins: dict[Any, CountedKernel]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for callback, twin in twins.items():
        found[callback.__name__] += twin.num_instructions()
    return dict(found)
