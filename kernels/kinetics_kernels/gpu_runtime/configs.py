"""Tile sizes, warps, pipeline depth and ways to launch, per GPU architecture.

A table, never an autotuner: a timed run must not search, and the machine code checked in CI must be the code that
runs. An architecture without a row uses the nearest row of its vendor, and says so.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache

import torch

from kinetics_kernels.gpu_runtime.device import gpu_device_of


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeConfig:
    """One way to compile the split decode kernel.

    `max_registers` is the assembler's limit per thread; None leaves it the choice, which may trade a few bytes of
    local memory for one more program per multiprocessor.
    """

    tile_tokens: int
    num_warps: int
    num_stages: int
    max_registers: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchVariant:
    """One way to launch the same computation.

    `is_overlapped`: each kernel is launched before the one before it has ended. `search_ways`: into how many parts a
    step of the selection cuts the range of scores. `merges_in_place`: the last program of a query group to finish
    merges its splits, instead of a launch of its own.
    """

    is_overlapped: bool
    search_ways: int
    merges_in_place: bool


PLAIN = "plain"
FAST = "fast"

VARIANTS: dict[str, LaunchVariant] = {
    PLAIN: LaunchVariant(is_overlapped=False, search_ways=2, merges_in_place=False),
    "overlapped": LaunchVariant(is_overlapped=True, search_ways=2, merges_in_place=False),
    "eight_way": LaunchVariant(is_overlapped=False, search_ways=8, merges_in_place=False),
    "merged": LaunchVariant(is_overlapped=False, search_ways=2, merges_in_place=True),
    FAST: LaunchVariant(is_overlapped=True, search_ways=8, merges_in_place=True),
}
"""Each improvement alone, to be told apart on a device, and all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuConfig:
    """Everything the launchers need to know about one architecture.

    `narrow`: for caches of 8-bit floats, dense and sparse, whose conversion takes registers.
    `variant`: the name of the variant used unless another is asked for. `can_overlap`: whether its kernels can wait for
    each other; where they cannot, no variant makes them. `converts_e4m3`: whether its instructions know 8-bit floats.
    """

    dense: DecodeConfig
    sparse: DecodeConfig
    narrow: DecodeConfig
    variant: str
    can_overlap: bool
    converts_e4m3: bool
    programs_per_multiprocessor: int
    min_dense_split_tokens: int
    min_sparse_split_tokens: int
    score_tile_pages: int
    score_num_warps: int


_LARGE_SHARED_MEMORY = GpuConfig(
    dense=DecodeConfig(tile_tokens=64, num_warps=4, num_stages=3),
    sparse=DecodeConfig(tile_tokens=64, num_warps=4, num_stages=3),
    narrow=DecodeConfig(tile_tokens=64, num_warps=4, num_stages=3),
    variant=PLAIN,
    can_overlap=True,
    converts_e4m3=True,
    programs_per_multiprocessor=2,
    min_dense_split_tokens=256,
    min_sparse_split_tokens=64,
    score_tile_pages=32,
    score_num_warps=4,
)
_BLACKWELL = replace(
    _LARGE_SHARED_MEMORY,
    dense=DecodeConfig(tile_tokens=64, num_warps=4, num_stages=3, max_registers=255),
    sparse=DecodeConfig(tile_tokens=64, num_warps=4, num_stages=3, max_registers=255),
    narrow=DecodeConfig(tile_tokens=64, num_warps=4, num_stages=3, max_registers=255),
)
_100_KIB_SHARED_MEMORY = replace(
    _LARGE_SHARED_MEMORY,
    dense=DecodeConfig(tile_tokens=32, num_warps=4, num_stages=3),
    sparse=DecodeConfig(tile_tokens=32, num_warps=4, num_stages=3),
    narrow=DecodeConfig(tile_tokens=32, num_warps=4, num_stages=3, max_registers=255),
)
_64_KIB_SHARED_MEMORY = replace(
    _LARGE_SHARED_MEMORY,
    can_overlap=False,
    converts_e4m3=False,
    dense=DecodeConfig(tile_tokens=32, num_warps=4, num_stages=2),
    sparse=DecodeConfig(tile_tokens=32, num_warps=4, num_stages=2),
    narrow=DecodeConfig(tile_tokens=32, num_warps=4, num_stages=2),
)

GPU_CONFIGS: dict[str, GpuConfig] = {
    "sm_80": replace(_LARGE_SHARED_MEMORY, can_overlap=False, converts_e4m3=False),
    "sm_90": _LARGE_SHARED_MEMORY,
    "sm_100": _BLACKWELL,
    "sm_120": _100_KIB_SHARED_MEMORY,
    "gfx942": _64_KIB_SHARED_MEMORY,
}
"""Chosen without a device, so that two programs fit a multiprocessor by registers and shared memory at head_dim 128."""


def gpu_config(arch: str) -> GpuConfig:
    """The configuration for an architecture, or the nearest one's, with a warning the first time.

    Raises: ValueError if no architecture of that vendor has a configuration.
    """
    return GPU_CONFIGS[nearest_arch(arch)]


def decode_config(config: GpuConfig, *, is_page_list: bool, is_narrow: bool) -> DecodeConfig:
    """The way to compile attention over this kind of list and of cache."""
    if is_narrow:
        return config.narrow
    return config.sparse if is_page_list else config.dense


_asked_for: ContextVar[str | None] = ContextVar("asked_for_variant", default=None)


@contextmanager
def use_variant(name: str) -> Iterator[None]:
    """Inside, launch this variant instead of the architecture's own.

    Raises: ValueError if there is none of this name.
    """
    if name not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {name!r}; pass one of these")
    token = _asked_for.set(name)
    try:
        yield
    finally:
        _asked_for.reset(token)


def launch_variant(arch: str) -> LaunchVariant:
    """How to launch on this architecture: as asked for, or as its configuration says."""
    config = gpu_config(arch)
    variant = VARIANTS[_asked_for.get() or config.variant]
    return variant if config.can_overlap else replace(variant, is_overlapped=False)


def converts_e4m3(tensor: torch.Tensor) -> bool:
    """Whether the GPU of this tensor converts 8-bit floats itself."""
    return gpu_config(gpu_device_of(tensor).arch).converts_e4m3


@cache
def nearest_arch(arch: str) -> str:
    """The architecture whose configuration serves `arch`: itself, else the newest older one, else the oldest."""
    if arch in GPU_CONFIGS:
        return arch
    vendor, generation = _parse(arch)
    known = sorted((number, name) for name in GPU_CONFIGS for kind, number in [_parse(name)] if kind == vendor)
    if not known:
        raise ValueError(f"arch must be one of {sorted(GPU_CONFIGS)} or a relative, got {arch!r}; add a row for it")
    older = [name for number, name in known if number <= generation]
    nearest = older[-1] if older else known[0][1]
    warnings.warn(f"{arch} has no kernel configuration: {nearest}'s is used, untuned", stacklevel=3)
    return nearest


def _parse(arch: str) -> tuple[str, int]:
    match = re.fullmatch(r"(sm_|gfx)([0-9a-f]+)", arch)
    if match is None:
        raise ValueError(f"arch must look like 'sm_90' or 'gfx942', got {arch!r}")
    return match[1], int(match[2], 16)
