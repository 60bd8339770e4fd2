"""Who can run decode attention here: our kernels and their peers, or the reason why not.

A provider does everything that is not attention (layout conversion, planning, buffers) in `prepare`, outside the
timed call. Adding one: a file in `peers/`, named like the provider, with an object `PROVIDER`; it is found by listing
the folder and imported on first use only.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from kinetics_kernels import peers
from kinetics_kernels.outside import load_outside, outside_entry_points
from kinetics_kernels.provider import (
    BLOCK_TOPK,
    DENSE,
    OURS,
    DecodeRequest,
    PreparedDecode,
    Provider,
    ProviderCase,
)

__all__ = [
    "BLOCK_TOPK",
    "DENSE",
    "OURS",
    "DecodeRequest",
    "PreparedDecode",
    "Provider",
    "ProviderCase",
    "find_provider",
    "provider_names",
    "providers_of",
]


@cache
def provider_names() -> tuple[str, ...]:
    """All providers: ours, those that have a file in `peers/`, and those of other packages, each by name."""
    names = sorted(_files())
    outside = sorted(set(outside_entry_points()) - set(names))
    return (OURS, *(name for name in names if name != OURS), *outside)


def find_provider(name: str) -> Provider:
    """The provider of this name.

    Raises: ValueError if there is none.
    """
    if name not in provider_names():
        raise ValueError(f"provider must be one of {', '.join(provider_names())}, got {name!r}")
    if name in outside_entry_points() and name not in _files():
        return load_outside(name, ours=find_provider(OURS))
    provider: Provider = importlib.import_module(f"{peers.__name__}.{name}").PROVIDER
    return provider


def _files() -> set[str]:
    return {module.name for module in pkgutil.iter_modules(peers.__path__)}


def providers_of(operation: str) -> list[Provider]:
    """The providers that know this operation, whether or not they can run here."""
    return [provider for name in provider_names() if operation in (provider := find_provider(name)).operations]
