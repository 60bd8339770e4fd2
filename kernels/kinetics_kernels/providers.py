"""Who can run decode attention here: our kernels and their peers, or the reason why not.

A provider does everything that is not attention (layout conversion, planning, buffers) in `prepare`, outside the
timed call. Adding one: a file in `peers/`, named like the provider, with an object `PROVIDER`; it is found by listing
the folder and imported on first use only.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Protocol

from kinetics_kernels import peers
from kinetics_kernels.outside import load_outside, outside_entry_points
from kinetics_kernels.shapes import DecodeShape, PageSelection, PageSummary
from kinetics_kernels.unavailable import Unavailable

if TYPE_CHECKING:
    import torch

    from kinetics_kernels.testing import DecodeInputs

DENSE = "dense"
BLOCK_TOPK = "block_topk"

OURS = "ours"
"""The provider that all others are compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderCase:
    """What a provider is asked to run. `operation` is DENSE or BLOCK_TOPK; `dtype` as torch spells it."""

    operation: str
    shape: DecodeShape
    dtype: str
    device_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeRequest:
    """The tensors to prepare for. Summary and selection are None for dense attention."""

    inputs: DecodeInputs
    page_summary: PageSummary | None = None
    selection: PageSelection | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedDecode:
    """A call to time, returning out [batch, num_q_heads, head_dim].

    `page_indices` tells which pages the call attends, as `select_pages` would, so that its result can be proved
    given its own selection; None for dense attention. It is never timed. `keeps_best_scores` is False where a policy
    chooses them by other means than the scores of page summaries. `plan` is host work that a step repeats whenever
    lengths change, timed apart; None where nothing is planned. `refresh` copies keys and values anew into the memory
    that `prepare` copied them to, and is called when they have changed, before the query does; None where they are
    read where they lie. `lse` is what the last call of `run` wrote beside its output, [batch, num_q_heads]: at long
    contexts a forgotten token hides in the rounding of the output, but not in the LSE; None where none is written.
    """

    run: Callable[[], torch.Tensor]
    page_indices: Callable[[], torch.Tensor] | None = None
    keeps_best_scores: bool = True
    plan: Callable[[], None] | None = None
    refresh: Callable[[], None] | None = None
    lse: Callable[[], torch.Tensor] | None = None


class Provider(Protocol):
    """One implementation of decode attention. `distribution`: the package that it comes in, as pip calls it.

    A provider that sets `reads_contiguous_copy` reads `peer_kinds.contiguous.contiguous_cache`, whose memory all such
    providers share; its `prepared_bytes` are those of the copy.
    """

    name: str
    distribution: str
    operations: tuple[str, ...]

    def version(self) -> str:
        """Version of the code that runs, and of the backend it resolved to where it chooses one."""

    def unavailable_on(self, device_type: str) -> Unavailable | None:
        """Why it cannot run on this machine and how to install it; None if it can."""

    def unavailable_for(self, case: ProviderCase) -> Unavailable | None:
        """Why it cannot run this case; None if it can."""

    def prepared_bytes(self, case: ProviderCase) -> int:
        """Memory that `prepare` will take besides the inputs."""

    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """Everything that must not be timed, done once per set of inputs."""


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
        return load_outside(name)
    provider: Provider = importlib.import_module(f"{peers.__name__}.{name}").PROVIDER
    return provider


def _files() -> set[str]:
    return {module.name for module in pkgutil.iter_modules(peers.__path__)}


def providers_of(operation: str) -> list[Provider]:
    """The providers that know this operation, whether or not they can run here."""
    return [provider for name in provider_names() if operation in (provider := find_provider(name)).operations]
