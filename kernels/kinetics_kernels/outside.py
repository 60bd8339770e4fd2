"""Providers and selection policies that other installed packages bring, named by their entry points.

`kinetics.providers`: the object is a `Provider`. `kinetics.selection_policies`: the object is a `SelectionPolicy`; it
is measured and proved as a provider of block top-k whose attention is ours. What cannot be loaded is listed with its
reason, like everything that cannot run here. Loading one runs its package's code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Final, Protocol

from kinetics_kernels.provider import BLOCK_TOPK, DENSE, DecodeRequest, PreparedDecode, Provider, ProviderCase
from kinetics_kernels.shapes import PagedCache, PageSelection, PageSummary
from kinetics_kernels.unavailable import Unavailable

if TYPE_CHECKING:
    import torch

PROVIDERS: Final = "kinetics.providers"
SELECTION_POLICIES: Final = "kinetics.selection_policies"


class SelectionPolicy(Protocol):
    """Chooses the pages that sparse attention reads."""

    def select(
        self, q: torch.Tensor, cache: PagedCache, page_summary: PageSummary, selection: PageSelection
    ) -> torch.Tensor:
        """Physical page ids, int32 [batch, num_kv_heads, selection.num_pages], as `select_pages` writes them.

        Ascending in logical order, -1 in the tail, sink, local and current pages among them.
        """


@cache
def outside_entry_points() -> dict[str, EntryPoint]:
    """The entry points of both groups by name; of two with one name, the first that is found."""
    found: dict[str, EntryPoint] = {}
    for group in (PROVIDERS, SELECTION_POLICIES):
        for point in entry_points(group=group):
            found.setdefault(point.name, point)
    return found


def load_outside(name: str, *, ours: Provider) -> Provider:
    """The provider behind an entry point; one that says why it cannot run, if it cannot be loaded.

    A selection policy attends by `ours`.
    """
    point = outside_entry_points()[name]
    distribution = point.dist.name if point.dist is not None else point.module
    version = point.dist.version if point.dist is not None else "unknown"
    try:
        loaded = point.load()
    except Exception as error:  # whatever a stranger's module raises is its own failure, not this suite's
        reason = f"{point.value} of {distribution} cannot be loaded ({type(error).__name__}: {error})"
        return UnloadableProvider(name=name, distribution=distribution, reason=" ".join(reason.split()))
    if point.group == PROVIDERS:
        provider: Provider = loaded
        return provider
    return SelectingProvider(name=name, distribution=distribution, policy=loaded, policy_version=version, ours=ours)


@dataclass(slots=True, kw_only=True)
class UnloadableProvider:
    """A provider that is announced and cannot be had."""

    name: str
    distribution: str
    reason: str
    operations: tuple[str, ...] = (DENSE, BLOCK_TOPK)

    def version(self) -> str:
        """None that could be asked."""
        return "unknown"

    def unavailable_on(self, device_type: str) -> Unavailable | None:  # noqa: ARG002 - the protocol asks
        """Why it could not be loaded."""
        return Unavailable(self.reason)

    def unavailable_for(self, case: ProviderCase) -> Unavailable | None:  # noqa: ARG002 - idem
        """Why it could not be loaded."""
        return Unavailable(self.reason)

    def prepared_bytes(self, case: ProviderCase) -> int:  # noqa: ARG002 - idem
        """Nothing."""
        return 0

    def prepare(self, request: DecodeRequest) -> PreparedDecode:  # noqa: ARG002 - idem
        """Raises: ValueError, always."""
        raise ValueError(self.reason)


@dataclass(slots=True, kw_only=True)
class SelectingProvider:
    """Block top-k whose pages somebody else's policy chooses; attention over them is ours."""

    name: str
    distribution: str
    policy: SelectionPolicy
    policy_version: str
    ours: Provider
    operations: tuple[str, ...] = (BLOCK_TOPK,)

    def version(self) -> str:
        """The policy's and ours: both take part in the time."""
        return f"{self.policy_version} on {self.ours.version()}"

    def unavailable_on(self, device_type: str) -> Unavailable | None:
        """Where our sparse attention cannot run."""
        return self.ours.unavailable_on(device_type)

    def unavailable_for(self, case: ProviderCase) -> Unavailable | None:
        """What our sparse attention does not take."""
        return self.ours.unavailable_for(case)

    def prepared_bytes(self, case: ProviderCase) -> int:
        """As much as ours; what the policy allocates, it allocates in the call."""
        return self.ours.prepared_bytes(case)

    def prepare(self, request: DecodeRequest) -> PreparedDecode:
        """Bind the inputs, and an output that every call fills anew."""
        import torch

        from kinetics_kernels import api

        inputs, summary, selection = request.inputs, request.page_summary, request.selection
        assert summary is not None
        assert selection is not None
        out = torch.empty_like(inputs.q)

        def page_indices() -> torch.Tensor:
            return self.policy.select(inputs.q, inputs.cache, summary, selection)

        def run() -> torch.Tensor:
            return api.sparse_paged_decode(inputs.q, inputs.cache, page_indices(), out=out)

        return PreparedDecode(run=run, page_indices=page_indices, keeps_best_scores=False)
