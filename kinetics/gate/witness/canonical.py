"""Values as JSON that equal code makes equal in any process: by shape, by name, by content, never by address."""

from __future__ import annotations

import ctypes
import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

_ADDRESSES_FROM = 2**32
"""Integers from here on are addresses, which differ from run to run, or nothing that a case of a benchmark counts."""
_MAX_DEPTH = 8
_IN_MEMORY = " at 0x"
"""In the text of an object that says nothing but where it lies."""
_INSTALLED = {"site-packages", "dist-packages"}
_PLAIN = (bool, int, float, str, tuple, list, dict, set, frozenset, type(None))


def canonical(value: object, root: Path, depth: int = 0) -> Any:
    """A value as JSON that equal code makes equal: tensors by shape, functions by name, addresses not at all."""
    deeper = partial(canonical, root=root, depth=depth + 1)
    if value is None or isinstance(value, bool | float):
        return repr(value)
    if isinstance(value, int) and not isinstance(value, Enum):
        return value if abs(value) < _ADDRESSES_FROM else "address"
    if isinstance(value, str) and not isinstance(value, Enum):
        return value.replace(str(root), "")
    if depth > _MAX_DEPTH:
        return type(value).__qualname__
    if isinstance(value, Mapping):
        return ["mapping", *sorted(([deeper(key), deeper(one)] for key, one in value.items()), key=json.dumps)]
    if isinstance(value, set | frozenset):
        return ["set", *sorted(map(deeper, value), key=json.dumps)]
    if isinstance(value, list | tuple):
        return [type(value).__name__, *map(deeper, value)]
    return _canonical_object(value, root, deeper)


def _canonical_object(value: Any, root: Path, deeper: Callable[[object], Any]) -> Any:
    kind = type(value).__qualname__
    if isinstance(value, ctypes.Structure):
        return [kind, *(deeper(getattr(value, name)) for name, *_ in value._fields_)]
    if isinstance(value, Enum):
        return [kind, value.name, deeper(value.value)]
    if isinstance(value, partial):
        return ["partial", *map(deeper, (value.func, value.args, value.keywords))]
    if hasattr(value, "stride") and hasattr(value, "dtype"):
        return ["tensor", *map(str, (tuple(value.shape), value.stride(), value.dtype, value.device))]
    if isinstance(value, type):
        return ["class", value.__qualname__, deeper(_data_of(value)) if is_of(value, root) else None]
    if isinstance(value, ModuleType):
        return ["module", value.__name__, deeper(_data_of(value)) if is_of(value, root) else None]
    if callable(value):
        return ["function", getattr(value, "__qualname__", kind), deeper(getattr(value, "__self__", None))]
    if is_of(type(value), root):
        slots = {name: getattr(value, name, None) for name in getattr(type(value), "__slots__", ())}
        return [kind, deeper(slots | getattr(value, "__dict__", {}))]
    if hasattr(value, "tobytes"):  # arrays and numbers of numpy
        return [kind, str(getattr(value, "shape", None)), hashlib.sha256(value.tobytes()).hexdigest()]
    text = repr(value)
    return [kind, None if _IN_MEMORY in text else text.replace(str(root), "")]


def _data_of(owner: type | ModuleType) -> dict[str, Any]:
    """The plain data that a class or a module holds."""
    named = {name: value for name, value in vars(owner).items() if not name.startswith("__")}
    return {name: value for name, value in named.items() if isinstance(value, _PLAIN)}


def is_of(owner: type | ModuleType, root: Path) -> bool:
    """Whether a class or a module is one of the checkout; what is installed in an environment within it is not."""
    module = owner if isinstance(owner, ModuleType) else sys.modules.get(owner.__module__)
    file = getattr(module, "__file__", None)
    if file is None or not (path := Path(file).resolve()).is_relative_to(root):
        return False
    return not _INSTALLED & set(path.relative_to(root).parts)
