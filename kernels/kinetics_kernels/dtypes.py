"""Element types that kernels are measured in, by torch's names. Nothing here imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import torch

ELEMENT_BYTES: Final = {"float32": 4, "bfloat16": 2, "float16": 2}

HALF_DTYPES: Final = ("bfloat16", "float16")
"""What attention is measured in on GPUs."""

MEASURED_DTYPES: Final = {"cpu": ("float32",), "cuda": HALF_DTYPES}
"""What each kind of device is measured in."""


def dtype_name(dtype: torch.dtype) -> str:
    """A dtype as people write it: float32."""
    return str(dtype).removeprefix("torch.")
