"""This package's own kernels by the variant with every improvement, beside the plain one until a device decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from kinetics_kernels.peers.ours import Ours
from kinetics_kernels.providers import DecodeRequest, PreparedDecode
from kinetics_kernels.unavailable import Unavailable

Result = TypeVar("Result")


class OursFast(Ours):
    """As `ours`, overlapped, searched eight ways and merged in place, where the GPU can."""

    name = "ours_fast"

    def version(self) -> str:
        """Version of this package, with the variant."""
        return f"{super().version()} (fast)"

    def unavailable_on(self, device_type: str) -> Unavailable | None:
        """There is one way to launch on a CPU: that of `ours`."""
        if device_type != "cuda":
            return Unavailable(f"runs on cuda alone, not on {device_type}")
        return super().unavailable_on(device_type)

    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """As `ours`; the pages that a call attends are told by the same variant."""
        prepared = super().prepare(request)
        page_indices = prepared.page_indices and _fast(prepared.page_indices)
        return replace(prepared, run=_fast(prepared.run), page_indices=page_indices)


def _fast(call: Callable[[], Result]) -> Callable[[], Result]:
    from kinetics_kernels.gpu_runtime.configs import FAST, use_variant

    def fast() -> Result:
        with use_variant(FAST):
            return call()

    return fast


PROVIDER = OursFast()
