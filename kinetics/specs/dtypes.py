"""Element types: their names, the names people type, their bytes. The one table; torch spells the names alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class DType:
    """One element type. `name` is torch's: `getattr(torch, name)` is the same type there."""

    name: str
    short_name: str
    num_bytes: int


_TABLE: Final = (
    DType(name="float32", short_name="fp32", num_bytes=4),
    DType(name="bfloat16", short_name="bf16", num_bytes=2),
    DType(name="float16", short_name="fp16", num_bytes=2),
    DType(name="float8_e4m3fn", short_name="fp8", num_bytes=1),
)
_BY_NAME: Final = {dtype.name: dtype for dtype in _TABLE}
_FULL_NAMES: Final = {dtype.short_name: dtype.name for dtype in _TABLE}

MEASURED_DTYPES: Final = {"cpu": ("float32",), "cuda": ("bfloat16", "float16")}
"""What each kind of device is measured in, its own choice first."""

ENGINE_DTYPES: Final = {"cpu": ("float32", "bfloat16"), "cuda": ("bfloat16", "float16")}
"""What weights the engine multiplies with on each kind of device."""


def element_bytes(name: str) -> int:
    """Bytes of one element.

    Raises: ValueError for a dtype that is not in the table.
    """
    if name not in _BY_NAME:
        raise ValueError(f"dtype must be one of {', '.join(_BY_NAME)}, got {name!r}")
    return _BY_NAME[name].num_bytes


def default_dtype(device_kind: str) -> str:
    """The dtype a kind of device is measured in unless another is asked for."""
    return MEASURED_DTYPES[device_kind][0]


def parse_dtype(text: str, device_kind: str, *, table: Mapping[str, tuple[str, ...]] = MEASURED_DTYPES) -> str:
    """The dtype to measure in, or of the table given, as torch spells it; the device's own choice for an empty text.

    Raises: ValueError if the device is not measured in it.
    """
    allowed = table[device_kind]
    name = _FULL_NAMES.get(text, text) or allowed[0]
    if name not in allowed:
        raise ValueError(f"--dtype on {device_kind} must be one of {', '.join(allowed)}, got {text!r}")
    return name
