"""Counting instructions the slow way, by a trap after each: a second opinion on x86-64 under Linux."""

import ctypes
import mmap
import platform
import signal
import struct
import sys

IS_POSSIBLE = sys.platform == "linux" and platform.machine() == "x86_64"
_STUB_INSTRUCTIONS = 5
"""Those of the stub after the trap flag is set and until it is cleared."""


class _Action(ctypes.Structure):
    _fields_ = (
        ("handler", ctypes.c_void_p), ("mask", ctypes.c_ulong * 16), ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )  # fmt: skip


def stepped_instructions(address: int, argument: int) -> int:
    """Instructions executed by the compiled function of one argument at `address`."""
    count = ctypes.c_int64(0)
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    start = ctypes.addressof(ctypes.c_char.from_buffer(page))
    # movabs $count, %rax; lock incq (%rax); ret
    handler = b"\x48\xb8" + struct.pack("<Q", ctypes.addressof(count)) + b"\xf0\x48\xff\x00\xc3"
    # push %rbx; pushf; orl $0x100, (%rsp); popf; movabs $address, %rax; call *%rax
    set_flag = b"\x53\x9c\x81\x0c\x24\x00\x01\x00\x00\x9d\x48\xb8" + struct.pack("<Q", address) + b"\xff\xd0"
    # pushf; andl $~0x100, (%rsp); popf; pop %rbx; ret
    clear_flag = b"\x9c\x81\x24\x24\xff\xfe\xff\xff\x9d\x5b\xc3"
    page[: len(handler)] = handler
    page[64 : 64 + len(set_flag + clear_flag)] = set_flag + clear_flag
    library, before = ctypes.CDLL(None), _Action()
    library.sigaction(signal.SIGTRAP, ctypes.byref(_Action(handler=start)), ctypes.byref(before))
    try:
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(start + 64)(argument)
    finally:
        library.sigaction(signal.SIGTRAP, ctypes.byref(before), None)
    return count.value - _STUB_INSTRUCTIONS
