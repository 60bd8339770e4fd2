"""Decode attention of the engine: one policy per layer, carried out by the kernels over the paged cache.

Pages are the blocks. A policy is stated in tokens and carried out in whole pages: what does not divide is refused.
Oracle top-k is a reference that scores every key; it is for accuracy, never for speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from kinetics.engine.kv_cache import KvCache, LayerCache
from kinetics.specs.policies import AttentionPolicy, BlockTopK, Dense, Local, TopK
from kinetics_kernels import api
from kinetics_kernels.shapes import PageSelection, PageSummaryKind, num_pages_for

DENSE = Dense()


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeBatch:
    """Where one step's tokens lie: int32 block_table [batch, max_pages], seq_lens [batch] counting the new one."""

    block_table: torch.Tensor
    seq_lens: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionSettings:
    """How the engine attends: the first `num_dense_layers` to every key, the others by `policy`.

    `num_splits` 0 lets the kernel choose, and the choice depends on the batch; a fixed number makes a sample
    independent of what else is in it.
    """

    policy: AttentionPolicy = DENSE
    num_dense_layers: int = 0
    num_splits: int = 0
    backend: str = "auto"

    def policy_of(self, layer: int) -> AttentionPolicy:
        """The policy of one layer, counted from 0."""
        return DENSE if layer < self.num_dense_layers else self.policy

    @property
    def needed_summary(self) -> PageSummaryKind | None:
        """The page summaries the cache must keep; None for policies that score no pages."""
        return PageSummaryKind(self.policy.summary.value) if isinstance(self.policy, BlockTopK) else None


class Attention(Protocol):
    """What the decoder asks in each layer: keep the new keys and values, and attend."""

    def __call__(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: DecodeBatch
    ) -> torch.Tensor:
        """Attended values of q, [batch, num_q_heads, head_dim] as q; k and v: [batch, num_kv_heads, head_dim]."""


class PolicyAttention:
    """Attention under the given settings over one cache.

    Raises: ValueError if the policy is not a whole number of pages of this cache, or the cache lacks its summaries.
    """

    def __init__(self, cache: KvCache, settings: AttentionSettings) -> None:
        if settings.needed_summary is not None and cache.summary_kind is not settings.needed_summary:
            raise ValueError(
                f"the cache must keep {settings.needed_summary.value} page summaries for this policy, "
                f"got {cache.summary_kind and cache.summary_kind.value}"
            )
        self._cache, self._settings = cache, settings
        self._selection = page_selection(settings.policy, page_size=cache.page_size)

    def __call__(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: DecodeBatch
    ) -> torch.Tensor:
        """Append the new token to the layer's cache and attend by the layer's policy, in the cache's dtype."""
        dtype = self._cache.keys.dtype
        return self._attend(layer, q.to(dtype), k.to(dtype), v.to(dtype), batch).to(q.dtype)

    def _attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: DecodeBatch
    ) -> torch.Tensor:
        cache, backend = self._cache.layers[layer], self._settings.backend
        pages, splits = cache.paged_cache(batch.block_table, batch.seq_lens), self._settings.num_splits
        summary = None if self._settings.needed_summary is None else cache.summary
        api.append_kv(k, v, pages, page_summary=summary, backend=backend)
        match self._settings.policy_of(layer):
            case BlockTopK():
                assert summary is not None
                assert self._selection is not None
                return api.block_topk_decode(
                    q, pages, summary, selection=self._selection, num_splits=splits, backend=backend
                )
            case Local():
                assert self._selection is not None
                kept = local_pages(batch, self._selection, page_size=self._cache.page_size)
                lists = kept[:, None].expand(-1, k.shape[1], -1).contiguous()
                return api.sparse_paged_decode(q, pages, lists, num_splits=splits, backend=backend)
            case TopK() as policy:
                return oracle_topk_decode(q, cache, batch, policy)
            case Dense():
                return api.paged_decode(q, pages, num_splits=splits, backend=backend)


def page_selection(policy: AttentionPolicy, *, page_size: int) -> PageSelection | None:
    """The pages a policy keeps, sink, local and current ones included; None for policies that are not about pages.

    The current, possibly partial page comes on top of a policy's own numbers. Local keys are whole pages besides it.

    Raises: ValueError if the policy does not come out as whole pages.
    """
    if not isinstance(policy, BlockTopK | Local):
        return None
    for name, tokens in (("num_local", policy.num_local), ("num_sink_tokens", policy.num_sink_tokens)):
        if tokens % page_size:
            raise ValueError(f"{name} must be a multiple of page_size for the engine, got {tokens} and {page_size}")
    num_sink, num_local = policy.num_sink_tokens // page_size, policy.num_local // page_size
    num_scored = 0
    if isinstance(policy, BlockTopK):
        if policy.block_size != page_size or not policy.keeps_partial_block:
            raise ValueError(
                "the engine's blocks are its pages, the partial one kept: block_size must equal page_size and "
                f"keeps_partial_block hold, got block_size={policy.block_size}, page_size={page_size}, "
                f"keeps_partial_block={policy.keeps_partial_block}"
            )
        num_scored = policy.top_blocks
    return PageSelection(
        num_pages=num_sink + num_scored + num_local + 1, num_sink_pages=num_sink, num_local_pages=num_local
    )


def local_pages(batch: DecodeBatch, selection: PageSelection, *, page_size: int) -> torch.Tensor:
    """Physical ids of sink, local and current pages, int32 [batch, num_pages], -1 in the tail; waits for no host."""
    num_present = num_pages_for(batch.seq_lens, page_size).long()[:, None]
    place = torch.arange(selection.num_pages, device=batch.seq_lens.device)[None]
    from_end = num_present - selection.num_pages + place
    has_all = num_present <= selection.num_pages
    logical = torch.where(has_all | (place < selection.num_sink_pages), place, from_end)
    physical = batch.block_table.gather(1, logical.clamp(0, batch.block_table.shape[1] - 1))
    return physical.masked_fill(logical >= num_present, -1)


def oracle_topk_decode(q: torch.Tensor, cache: LayerCache, batch: DecodeBatch, policy: TopK) -> torch.Tensor:
    """Attend, per KV head, to the keys that hold most of the group's attention weight, and to the sinks.

    Every key is scored exactly, one request at a time.
    """
    out = torch.empty_like(q)
    page_size, num_kv_heads = cache.keys.shape[1], cache.keys.shape[2]
    for request, context_len in enumerate(batch.seq_lens.tolist()):
        pages = batch.block_table[request, : num_pages_for(context_len, page_size)].long()
        keys, values = (t[pages].flatten(0, 1)[:context_len].transpose(0, 1) for t in (cache.keys, cache.values))
        grouped = q[request].view(num_kv_heads, -1, q.shape[-1])
        logits = grouped @ keys.transpose(1, 2) * q.shape[-1] ** -0.5  # [kv_heads, group, context]
        kept = _oracle_mask(torch.softmax(logits, dim=-1).sum(dim=1), policy)
        weights = torch.softmax(logits.masked_fill(~kept[:, None], float("-inf")), dim=-1)
        out[request] = (weights @ values).flatten(0, 1)
    return out


def _oracle_mask(weight: torch.Tensor, policy: TopK) -> torch.Tensor:
    """Boolean [num_kv_heads, context]: the sinks, and the `kv_budget` heaviest of the others."""
    context_len = weight.shape[1]
    weight = weight.clone()
    weight[:, : policy.num_sink_tokens] = float("inf")
    best = torch.topk(weight, policy.num_keys(context_len), dim=1).indices
    return torch.zeros_like(weight, dtype=torch.bool).scatter_(1, best, value=True)
