"""The tensors of one decode-step cell: a decoder with random weights, a full cache, a batch in it, and the calls.

Weights, keys and values are random: a step is as fast with them as with others. Page summaries are those of the keys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from kinetics.cases.kernels import NUM_SINK_PAGES
from kinetics.cases.steps import FUSED_ENGINE, PLAIN_ENGINE, StepCase, StepCell
from kinetics.engine.attention import Attention, AttentionSettings, DecodeBatch, PolicyAttention
from kinetics.engine.decoder import Decoder
from kinetics.engine.decoder_spec import DecoderSpec
from kinetics.engine.fused_decoder import FusedDecoder
from kinetics.engine.kv_cache import KvCache
from kinetics.engine.tensor_parallel import ALONE, RankGroup
from kinetics.engine.weights import ModelWeights, fill_repeating, random_weights
from kinetics.specs.policies import BlockTopK, Local, PolicyKind
from kinetics_kernels import api
from kinetics_kernels.shapes import PageSummaryKind, num_pages_for

_SUMMARY_KIND = PageSummaryKind.MEAN
_NOISE_PERIOD = 1_048_583


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWorkload:
    """Everything the cases of one cell share."""

    decoder: Decoder
    cache: KvCache
    token_ids: torch.Tensor
    batch: DecodeBatch

    def call(
        self, num_layers: int, attention: Attention, *, provider: str = PLAIN_ENGINE
    ) -> Callable[[], torch.Tensor]:
        """One step through the first `num_layers` layers, up to the greedy tokens."""
        decoder = first_layers(self.decoder, num_layers, provider=provider)

        @torch.inference_mode()
        def step() -> torch.Tensor:
            return decoder.decode(self.token_ids, self.batch, attention).argmax(dim=-1)

        return step

    def ask_anew(self, generator: torch.Generator) -> None:
        """Other tokens, in the same memory."""
        self.token_ids.random_(0, self.decoder.vocab_size, generator=generator)

    def draw(self, *, seed: int) -> None:
        """Another cache and other tokens of this seed, in the same memory; weights stay."""
        generator = torch.Generator(device=self.token_ids.device).manual_seed(seed)
        noise = torch.randn(_NOISE_PERIOD, generator=generator, device=self.token_ids.device).to(self.cache.keys.dtype)
        for tensor in (self.cache.keys, self.cache.values):
            fill_repeating(tensor.transpose(2, 3), noise)  # as it lies in memory
        self.ask_anew(generator)
        self.summarize()

    def summarize(self) -> None:
        """Page summaries of the keys that the cache holds now."""
        for layer in self.cache.layers:
            pages = layer.paged_cache(self.batch.block_table, self.batch.seq_lens)
            api.summarize_pages(pages, kind=_SUMMARY_KIND, out=layer.summary)

    def attention_of(self, case: StepCase) -> PolicyAttention:
        """The attention of a case over the cell's cache."""
        return PolicyAttention(self.cache, settings_of(case))


def make_step_workload(cell: StepCell, *, device: str, seed: int, ranks: RankGroup = ALONE) -> StepWorkload:
    """Random weights and a cache in which every request has its context, in scattered pages.

    Of several `ranks` each has weights, keys and values of its own, and the same tokens.
    """
    model, dtype = cell.shard, getattr(torch, cell.dtype)
    weights = random_weights(model, device=device, dtype=dtype, seed=seed + ranks.rank)
    if ranks.num_ranks > 1:
        _fill_routers(weights, seed=seed)
    pages_per_request = num_pages_for(cell.context_len, cell.page_size)
    num_pages = cell.batch * pages_per_request
    cache = KvCache(
        model,
        num_pages=num_pages,
        page_size=cell.page_size,
        device=device,
        dtype=getattr(torch, cell.kv_dtype),
        summary_kind=_SUMMARY_KIND,
    )
    order = torch.randperm(num_pages, generator=torch.Generator().manual_seed(seed)).to(torch.int32)
    batch = DecodeBatch(
        block_table=order.view(cell.batch, pages_per_request).to(device),
        seq_lens=torch.full((cell.batch,), cell.context_len, dtype=torch.int32, device=device),
    )
    token_ids = torch.empty((cell.batch,), dtype=torch.int64, device=device)
    decoder = Decoder(DecoderSpec.for_random_weights(model), weights, ranks=ranks, vocab_size=cell.largest.vocab_size)
    workload = StepWorkload(decoder=decoder, cache=cache, token_ids=token_ids, batch=batch)
    workload.draw(seed=seed)
    return workload


def settings_of(case: StepCase) -> AttentionSettings:
    """The case's policy in the engine's terms."""
    if case.kv_budget is None:
        return AttentionSettings()
    page_size = case.cell.page_size
    num_local, num_sink_tokens = case.num_local_pages * page_size, NUM_SINK_PAGES * page_size
    if case.policy is PolicyKind.LOCAL:
        return AttentionSettings(policy=Local(num_local=num_local, num_sink_tokens=num_sink_tokens))
    policy = BlockTopK(
        block_size=page_size,
        top_blocks=case.num_scored_pages,
        num_local=num_local,
        num_sink_tokens=num_sink_tokens,
        keeps_partial_block=True,
    )
    return AttentionSettings(policy=policy)


def _fill_routers(weights: ModelWeights, *, seed: int) -> None:
    """The same router on every rank: a token goes to the same experts, of which each rank has its part."""
    for number, layer in enumerate(weights.layers):
        if layer.router is not None:
            generator = torch.Generator(device=layer.router.device).manual_seed(seed + number)
            layer.router.normal_(generator=generator).mul_(layer.router.shape[-1] ** -0.5)


def first_layers(decoder: Decoder, num_layers: int, *, provider: str = PLAIN_ENGINE) -> Decoder:
    """The decoder cut to its first layers, as a provider runs it; embedding and head stay, no weight is copied."""
    make = FusedDecoder if provider == FUSED_ENGINE else Decoder
    spec = replace(decoder.spec, model=replace(decoder.spec.model, num_layers=num_layers))
    weights = replace(decoder.weights, layers=decoder.weights.layers[:num_layers])
    return make(spec, weights, ranks=decoder.ranks, vocab_size=decoder.vocab_size)


def without_attention(
    layer: int,  # noqa: ARG001 - the protocol asks
    q: torch.Tensor,
    k: torch.Tensor,  # noqa: ARG001 - idem
    v: torch.Tensor,  # noqa: ARG001 - idem
    batch: DecodeBatch,  # noqa: ARG001 - idem
) -> torch.Tensor:
    """No attention at all: what a step costs besides."""
    return q
