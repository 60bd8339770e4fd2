"""Assembly without what changes when nothing does: symbol names, file names, line numbers, messages with them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_KEPT = "module_before_code_generation"


@contextmanager
def compiled_anew() -> Iterator[None]:
    """Within it, whatever numba compiles is compiled here, from no cache, and can be asked for its assembly."""
    from numba.core.ccallback import CFunc
    from numba.core.codegen import JITCodeLibrary
    from numba.core.dispatcher import Dispatcher

    kinds: tuple[Any, ...] = (CFunc, Dispatcher)
    libraries: Any = JITCodeLibrary
    finalize = libraries._finalize_final_module

    def keeping(library: Any) -> None:
        setattr(library, _KEPT, library._final_module.clone())
        finalize(library)

    enable = {kind: kind.enable_caching for kind in kinds}
    libraries._finalize_final_module = keeping
    for kind in enable:
        kind.enable_caching = lambda _function: None
    try:
        yield
    finally:
        libraries._finalize_final_module = finalize
        for kind, original in enable.items():
            kind.enable_caching = original


def assembly_of(library: Any, name: str) -> str:
    """The assembly that a library of numba's runs.

    Generated from a copy of the module as it was when its code was generated: code generation changes a module, so that
    asking numba afterwards tells of slightly different instructions.

    Raises: ValueError if it was not compiled within `compiled_anew`.
    """
    kept = getattr(library, _KEPT, None)
    if kept is None or library._disable_inspection:
        raise ValueError(f"the assembly of {name} must be compiled here, got it from a cache")
    return str(library._codegen._tm.emit_assembly(kept.clone()))


def normalised(assembly: str) -> str:
    """Assembly without what changes when nothing does: symbol names, file names, line numbers, messages with them."""
    lines = [line.split("#", 1)[0].rstrip() for line in assembly.splitlines()]
    kept = [line for line in _without_messages(lines) if line and not _IGNORED_LINE.match(line)]
    names: dict[str, str] = {}
    for line in kept:
        if found := _DEFINITION.match(line):
            names.setdefault(found[1] or found[2], f"symbol_{len(names)}")
    return "\n".join(_SYMBOL.sub(lambda symbol: names.get(symbol[0], _unnumbered(symbol[0])), line) for line in kept)


_IGNORED_LINE = re.compile(r"\s*\.(file|loc|cfi_\w+|ident|type|size|globl|weak|hidden|addrsig\w*)\b")
_DEFINITION = re.compile(r"([A-Za-z_.][\w.]*):|\s*\.comm\s+([\w.]+)")
_SYMBOL = re.compile(r"(?<![\w.%])[A-Za-z_.][\w.]*")
_MESSAGE = re.compile(r"\.const\.pickle(?:buf|data)\.\w+(?:\.sha1)?")


def _without_messages(lines: list[str]) -> Iterator[str]:
    """The lines outside the pickled exceptions, which name the file and line that raises them."""
    is_message = False
    for line in lines:
        if line.endswith(":") or line.lstrip().startswith((".section", ".text", ".type")):
            is_message = bool(_MESSAGE.match(line))
        if not is_message:
            yield _MESSAGE.sub("message", line)


def _unnumbered(symbol: str) -> str:
    """A symbol of another library without the running number that numba gives each specialisation."""
    return re.sub(r"B\d+v\d+", "", symbol)


def triton_assembly(assembly: Mapping[str, Any], kernel: str) -> str:
    """What Triton compiled a kernel to, without lines of debug information.

    PTX and not the cubin, which holds line numbers: what makes the one of the other comes with Triton's version.

    Raises: ValueError where there is no assembly, as under the interpreter.
    """
    text = next((assembly[kind] for kind in ("ptx", "amdgcn") if kind in assembly), None)
    if text is None:
        raise ValueError(f"the assembly of {kernel} must be PTX or AMDGCN, got neither; run it on a GPU")
    lines = [
        re.split(r"//|;\s*--", line)[0].rstrip() for line in str(text).split(".section\t.debug", 1)[0].splitlines()
    ]
    return "\n".join(line for line in lines if line and not _IGNORED_LINE.match(line))
