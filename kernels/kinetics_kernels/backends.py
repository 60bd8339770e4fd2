"""The backends an operation can run on: which one fits these tensors, and its module, imported on first use."""

from __future__ import annotations

import importlib
import os
from functools import cache
from types import ModuleType

import torch

from kinetics_kernels.dtypes import dtype_name

BACKEND_NAMES = ("reference", "cpu", "gpu")
BACKEND_DTYPES = {
    "reference": (torch.float64, torch.float32, torch.bfloat16, torch.float16),
    "cpu": (torch.float32,),
    "gpu": (torch.bfloat16, torch.float16, torch.float32),
}


def resolve_backend(backend: str, data: torch.Tensor, *, is_narrow: bool = False) -> str:
    """The backend to run, checked against the device and dtype of the data; "auto" follows the device.

    `is_narrow`: the cache holds 8-bit floats; `data` is what goes into it or comes out.

    Raises: ValueError if the backend is unknown, or cannot run this device or dtype.
    """
    if backend == "auto":
        backend = "gpu" if data.is_cuda else "cpu"
    if backend not in BACKEND_NAMES:
        raise ValueError(f"backend must be 'auto' or one of {BACKEND_NAMES}, got {backend!r}; pass one of these")
    if backend == "cpu" and data.device.type != "cpu":
        raise ValueError(
            f"backend 'cpu' needs tensors in host memory, got device {data.device}; pass backend='gpu' or 'reference'"
        )
    if backend == "gpu" and not data.is_cuda and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(
            f"backend 'gpu' needs CUDA tensors, got device {data.device}; pass backend='cpu' or 'reference', "
            "or set TRITON_INTERPRET=1 before the first import to interpret the kernels"
        )
    if is_narrow and backend == "cpu":
        raise ValueError("backend 'cpu' takes no cache of float8_e4m3fn, got one; widen it or pass backend='reference'")
    if data.dtype not in BACKEND_DTYPES[backend]:
        supported = ", ".join(map(dtype_name, BACKEND_DTYPES[backend]))
        raise ValueError(
            f"backend {backend!r} takes {supported}, got {dtype_name(data.dtype)}; "
            "convert the tensors or pass backend='reference'"
        )
    return backend


@cache
def load_backend(operation: str, backend: str) -> ModuleType:
    """The module of one operation on one backend.

    Raises: RuntimeError naming what is not installed.
    """
    try:
        return importlib.import_module(f"kinetics_kernels.{operation}.{backend}")
    except ModuleNotFoundError as error:
        raise RuntimeError(
            f"backend {backend!r} needs the module {error.name!r}, which is not installed; install it or pass "
            "backend='reference'"
        ) from error
