"""What a case is made of in one revision: its fingerprint, part by part, as the process that runs it sees it.

It covers what lies between the door and the hardware: the assembly of every compiled kernel that is called,
the arguments on the way there, the sources of the modules entered (without comments, docstrings and line numbers) with
the data they hold, the versions of what they call, the processor. Two revisions whose fingerprints are equal run the
same instructions on operands of the same shape: timing them again could only find noise.

The gate's own copy looks at both revisions, so that no revision speaks for itself.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from .assembly import assembly_of, normalised, triton_assembly
from .canonical import canonical, is_of

Fingerprint = dict[str, str]
"""What a case is made of: the digest of each part, or its version in plain words. JSON as it stands."""

PACKAGES = ("torch", "numba", "llvmlite", "triton", "numpy")
"""Whose versions decide what machine code runs."""
LAUNCH = "arguments on the way to the kernel"
SETTINGS = "settings and processor"
SOURCE, CODE, VERSION = "python ", "machine code ", "version "
_READ_BY_LIBRARIES = ("GOMP_", "KMP_", "MKL_", "NUMBA_", "OMP_", "TORCH", "TRITON_")
_OWN_FOLDER = Path(__file__).parent
"""Of the gate's own modules in the process that looks: below the candidate's root, they belong to neither side."""
_PYTHON_FLAGS_VARARGS, _PYTHON_FLAGS_VARKEYWORDS = 4, 8


def fingerprint(make: Callable[[], Callable[[], object]], root: Path) -> Fingerprint:
    """The fingerprint of what `make` prepares and of one call of it, for the checkout at `root`.

    `make` is called twice: the second time everything is compiled and cached that ever will be. Machine code is that
    of the call alone; sources and arguments are those of the preparation, too.

    Raises: ValueError where the machine code cannot be read; whatever the case raises.
    """
    make()()
    with recorded(root) as seen:
        call = make()
        with kernels_noted(seen):
            call()
            _wait_for_device()
    code = {CODE + name: _digest(text) for name, text in sorted(machine_code(seen).items())}
    sources = {SOURCE + module.__name__: _module_digest(module, seen.root) for module in _with_packages(seen.modules)}
    return {**code, LAUNCH: seen.launches.hexdigest(), **sources, **versions(root), SETTINGS: settings()}


def _wait_for_device() -> None:
    torch = sys.modules["torch"]
    if hasattr(torch, "cuda") and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _with_packages(modules: Mapping[str, ModuleType]) -> list[ModuleType]:
    """The modules and the packages around them, which ran when they were imported."""
    names = {name.rsplit(".", depth)[0] for name in modules for depth in range(name.count(".") + 1)}
    return [sys.modules[name] for name in sorted(names) if getattr(sys.modules[name], "__file__", None)]


@dataclass(kw_only=True)
class Seen:
    """What one call went through: modules by name, compiled functions, code objects, and a digest of all arguments."""

    root: Path
    modules: dict[str, ModuleType] = field(default_factory=dict)
    callbacks: dict[int, Any] = field(default_factory=dict)
    codes: set[Any] = field(default_factory=set)
    triton: dict[str, str] = field(default_factory=dict)
    launches: Any = field(default_factory=hashlib.sha256)

    def enter(self, frame: FrameType, event: str, _argument: object) -> None:
        """What `sys.setprofile` calls."""
        if event != "call":
            return
        self.codes.add(frame.f_code)
        module = sys.modules.get(frame.f_globals.get("__name__", ""))
        if module is None or not is_of(module, self.root) or is_of(module, _OWN_FOLDER):
            return
        self.modules[module.__name__] = module
        self.note([frame.f_code.co_qualname, *_arguments_of(frame)])

    def note(self, values: object) -> None:
        """Add values to the digest of what was passed along the way."""
        self.launches.update(json.dumps(canonical(values, self.root)).encode() + b"\n")


@contextmanager
def recorded(root: Path) -> Iterator[Seen]:
    """Look at every call inside of Python below `root`."""
    seen = Seen(root=root.resolve())
    before = sys.getprofile()
    sys.setprofile(seen.enter)
    try:
        yield seen
    finally:
        sys.setprofile(before)


@contextmanager
def kernels_noted(seen: Seen) -> Iterator[None]:
    """Look at every compiled function called inside: numba's callbacks and functions, Triton's kernels."""
    seen.codes.clear()
    with _callbacks_noted(seen), _triton_noted(seen):
        yield


@contextmanager
def _callbacks_noted(seen: Seen) -> Iterator[None]:
    """Whoever runs a compiled callback asks for its address or its ctypes function first."""
    if "numba" not in sys.modules:
        yield
        return
    from numba.core.ccallback import CFunc

    originals = {name: vars(CFunc)[name] for name in ("address", "ctypes")}

    def noting(original: Any) -> property:
        def value(callback: Any) -> Any:
            seen.callbacks[id(callback)] = callback
            return original.__get__(callback, type(callback))

        return property(value)

    for name, original in originals.items():
        setattr(CFunc, name, noting(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(CFunc, name, original)


@contextmanager
def _triton_noted(seen: Seen) -> Iterator[None]:
    """Every launch: its grid and arguments, and the assembly of the kernel that was compiled for them."""
    if "triton" not in sys.modules:
        yield
        return
    from triton.runtime.jit import JITFunction

    original = JITFunction.run

    def run(kernel: Any, *args: Any, **options: Any) -> Any:
        compiled = original(kernel, *args, **options)
        seen.note(["launch", kernel.__name__, args, options])
        text = triton_assembly(getattr(compiled, "asm", {}), kernel.__name__)
        seen.triton[f"{kernel.__name__} {_digest(text)[:12]}"] = text
        return compiled

    JITFunction.run = run
    try:
        yield
    finally:
        JITFunction.run = original


def machine_code(seen: Seen) -> dict[str, str]:
    """The normalised assembly of every compiled function that was called, by name.

    Raises: ValueError for one that came from a cache, of which numba shows no assembly.
    """
    found = dict(seen.triton)
    for callback in seen.callbacks.values():
        found[callback.__name__] = normalised(assembly_of(callback._library, callback.__name__))
    for dispatcher in _dispatchers(seen):
        for signature, compiled in dispatcher.overloads.items():
            found[f"{dispatcher.__name__}{signature}"] = normalised(assembly_of(compiled.library, dispatcher.__name__))
    return found


def _dispatchers(seen: Seen) -> list[Any]:
    """numba's functions that Python called without a callback; of those it reports the function they stand for."""
    values = [value for module in seen.modules.values() for value in vars(module).values()]
    return [one for one in values if hasattr(one, "overloads") and one.py_func.__code__ in seen.codes]


def source_digest(source: str) -> str:
    """A digest of Python source that comments, docstrings, blank lines and line breaks do not change."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [one for one in body if not _is_bare_text(one)]  # type: ignore[attr-defined]
    return _digest(ast.dump(tree))


def _is_bare_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _module_digest(module: ModuleType, root: Path) -> str:
    """Of a module's source and of the data it holds now, its own or imported."""
    inside = f"{module.__name__}."  # of a package: modules that happen to be imported
    held = {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("__") and not (isinstance(value, ModuleType) and value.__name__ == inside + name)
    }
    source = Path(module.__file__ or "").read_text(encoding="utf-8")
    return _digest(source_digest(source) + json.dumps(canonical(held, root.resolve()), sort_keys=True))


def versions(root: Path) -> Fingerprint:
    """Of Python and of the packages that make machine code, installed and as the checkout pins them."""
    pins = root / "constraints.txt"
    pinned = dict(re.findall(r"(?m)^([\w-]+)==([^\s;#]+)", pins.read_text(encoding="utf-8"))) if pins.exists() else {}
    found = {f"{VERSION}python": platform.python_version()}
    for name in PACKAGES:
        shown = getattr(sys.modules.get(name), "__version__", None) or _installed(name)
        found[VERSION + name] = f"{shown}, pinned {pinned.get(name)}"
    return found


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def settings() -> str:
    """The microarchitecture as LLVM names it, the model as the system does, torch's threads, and the environment."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").split("\n\n", 1)[0].splitlines() if facts.exists() else []
    told = [line.split(":", 1)[-1].strip() for line in lines if line.startswith(("model name", "CPU part", "flags"))]
    threads = getattr(sys.modules["torch"], "get_num_threads", lambda: None)()
    set_up = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(_READ_BY_LIBRARIES)]
    facts_of_call = [platform.machine(), *told, f"{threads} threads", *set_up]
    return f"{_microarchitecture()} {_digest(chr(10).join(facts_of_call))[:12]}"


def _microarchitecture() -> str:
    if "llvmlite" not in sys.modules:
        return platform.machine()
    from llvmlite import binding  # type: ignore[import-untyped]

    name: str = binding.get_host_cpu_name()
    return name


def _arguments_of(frame: FrameType) -> list[object]:
    """The values a function was called with, in the order it names them."""
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & _PYTHON_FLAGS_VARARGS) + bool(code.co_flags & _PYTHON_FLAGS_VARKEYWORDS)
    return [frame.f_locals.get(name) for name in code.co_varnames[:count]]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
