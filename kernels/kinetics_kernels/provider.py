"""What a provider of decode attention is asked, what it prepares, and what it must tell of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

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
