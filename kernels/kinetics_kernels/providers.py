"""Who can run decode attention here: our kernels and their peers, or the reason why not.

A provider does everything that is not attention (layout conversion, planning, buffers) in `prepare`, outside the
timed call. Adding one: a file in `peers/` and a line in `_PROVIDERS`. Peers are imported on first use only.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kinetics_kernels.shapes import DecodeShape, PageSelection, PageSummary

if TYPE_CHECKING:
    import torch

    from kinetics_kernels.testing import DecodeInputs

DENSE = "dense"
BLOCK_TOPK = "block_topk"

_PROVIDERS = {
    "ours": "kinetics_kernels.peers.ours",
    "torch_sdpa": "kinetics_kernels.peers.torch_sdpa",
    "naive_sparse": "kinetics_kernels.peers.naive_sparse",
    "torch_sdpa_flash": "kinetics_kernels.peers.torch_sdpa_flash",
    "torch_sdpa_cudnn": "kinetics_kernels.peers.torch_sdpa_cudnn",
    "flex_attention": "kinetics_kernels.peers.flex_attention",
    "varlen_attn": "kinetics_kernels.peers.varlen_attn",
    "flash_attn_2": "kinetics_kernels.peers.flash_attn_2",
    "flash_attn_3": "kinetics_kernels.peers.flash_attn_3",
    "flash_attn_4": "kinetics_kernels.peers.flash_attn_4",
    "flashinfer": "kinetics_kernels.peers.flashinfer",
}


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
    given its own selection; None for dense attention. It is never timed. `plan` is host work that a step repeats
    whenever lengths change, timed apart; None where nothing is planned.
    """

    run: Callable[[], torch.Tensor]
    page_indices: Callable[[], torch.Tensor] | None = None
    plan: Callable[[], None] | None = None


class Provider(Protocol):
    """One implementation of decode attention."""

    name: str
    operations: tuple[str, ...]

    def version(self) -> str:
        """Version of the code that runs, and of the backend it resolved to where it chooses one."""

    def unavailable_reason(self, device_type: str) -> str | None:
        """Why it cannot run on this machine and how to install it; None if it can."""

    def supports(self, case: ProviderCase) -> tuple[bool, str]:
        """Whether it can run this case, and the reason if not."""

    def prepared_bytes(self, case: ProviderCase, element_bytes: int) -> int:
        """Memory that `prepare` will take besides the inputs."""

    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """Everything that must not be timed, done once per set of inputs."""


def provider_names() -> tuple[str, ...]:
    """All providers this package knows, ours first."""
    return tuple(_PROVIDERS)


def find_provider(name: str) -> Provider:
    """The provider of this name.

    Raises: ValueError if there is none.
    """
    if name not in _PROVIDERS:
        raise ValueError(f"provider must be one of {', '.join(_PROVIDERS)}, got {name!r}")
    provider: Provider = importlib.import_module(_PROVIDERS[name]).PROVIDER
    return provider


def providers_of(operation: str) -> list[Provider]:
    """The providers that know this operation, whether or not they can run here."""
    return [provider for name in _PROVIDERS if operation in (provider := find_provider(name)).operations]
