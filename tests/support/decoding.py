"""Drive the decoder by hand, and a masked-attention reference that knows no pages and no kernels."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kinetics.engine.attention import Attention, AttentionSettings, DecodeBatch, PolicyAttention
from kinetics.engine.decoder import Decoder
from kinetics.engine.kv_cache import KvCache, PagedSequence
from kinetics.specs.policies import AttentionPolicy, BlockTopK, Dense, Local, TopK
from kinetics_kernels.shapes import PageSummaryKind


def random_prompts(lengths: Sequence[int], *, vocab_size: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, vocab_size, (length,), generator=generator) for length in lengths]


class Decoding:
    """Requests in lockstep: prompts prefilled, then one token each per step."""

    def __init__(
        self,
        decoder: Decoder,
        prompts: Sequence[torch.Tensor],
        *,
        page_size: int = 16,
        settings: AttentionSettings,
        chunk_tokens: int = 512,
    ) -> None:
        self.decoder = decoder
        self.cache = KvCache(
            decoder.spec.model,
            num_pages=1024 // page_size + len(prompts),
            page_size=page_size,
            device="cpu",
            dtype=torch.float32,
            summary_kind=settings.needed_summary,
        )
        self.attention: Attention = PolicyAttention(self.cache, settings)
        self.sequences = [PagedSequence() for _ in prompts]
        self.logits = torch.stack(
            [
                decoder.prefill(prompt, self.cache, sequence, backend=settings.backend, chunk_tokens=chunk_tokens)
                for prompt, sequence in zip(prompts, self.sequences, strict=True)
            ]
        )

    def batch(self) -> DecodeBatch:
        """Room for one more token per request, counted in seq_lens."""
        for sequence in self.sequences:
            self.cache.reserve(sequence, 1)
            sequence.num_tokens += 1
        width = max(len(sequence.pages) for sequence in self.sequences)
        rows = [sequence.pages + [0] * (width - len(sequence.pages)) for sequence in self.sequences]
        lengths = [sequence.num_tokens for sequence in self.sequences]
        return DecodeBatch(
            block_table=torch.tensor(rows, dtype=torch.int32), seq_lens=torch.tensor(lengths, dtype=torch.int32)
        )

    def step(self, token_ids: torch.Tensor) -> torch.Tensor:
        self.logits = self.decoder.decode(token_ids, self.batch(), self.attention)
        return self.logits

    def greedy(self, num_tokens: int) -> torch.Tensor:
        """Greedy tokens [num_requests, num_tokens]."""
        tokens = []
        for _ in range(num_tokens):
            tokens.append(self.logits.argmax(dim=-1))
            self.step(tokens[-1])
        return torch.stack(tokens, dim=1)


class MaskedAttention:
    """Attention over contiguous keys under an explicit mask per request and KV head."""

    def __init__(
        self, cache: KvCache, sequences: Sequence[PagedSequence], policy: AttentionPolicy, kind: PageSummaryKind
    ) -> None:
        self._policy, self._kind, self._page_size = policy, kind, cache.page_size
        self._keys = [[self._gather(layer.keys, one) for one in sequences] for layer in cache.layers]
        self._values = [[self._gather(layer.values, one) for one in sequences] for layer in cache.layers]

    def __call__(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, batch: DecodeBatch
    ) -> torch.Tensor:
        out = torch.empty_like(q)
        for request in range(len(q)):
            keys = self._keys[layer][request] = torch.cat([self._keys[layer][request], k[request][None]])
            values = self._values[layer][request] = torch.cat([self._values[layer][request], v[request][None]])
            for head in range(k.shape[1]):
                group = q[request].view(k.shape[1], -1, q.shape[-1])[head]
                logits = group @ keys[:, head].T * q.shape[-1] ** -0.5
                logits[:, ~self._kept(group, keys[:, head], logits)] = float("-inf")
                out.view(len(q), k.shape[1], -1, q.shape[-1])[request, head] = logits.softmax(-1) @ values[:, head]
        return out

    @staticmethod
    def _gather(tensor: torch.Tensor, sequence: PagedSequence) -> torch.Tensor:
        return tensor[sequence.pages].flatten(0, 1)[: sequence.num_tokens].clone()

    def _kept(self, group: torch.Tensor, keys: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Boolean [context_len]: the keys this policy attends."""
        context_len = len(keys)
        position = torch.arange(context_len)
        page = position // self._page_size
        last_page = int(page[-1])
        match self._policy:
            case Dense():
                return position >= 0
            case Local(num_local=num_local, num_sink_tokens=num_sink):
                return (position < num_sink) | (page >= last_page - num_local // self._page_size)
            case TopK(kv_budget=budget, num_sink_tokens=num_sink):
                weight = logits.softmax(-1).sum(0)
                weight[:num_sink] = float("inf")
                kept = torch.zeros(context_len, dtype=torch.bool)
                kept[weight.sort(descending=True).indices[: budget + num_sink]] = True
                return kept
            case BlockTopK(top_blocks=top_blocks, num_local=num_local, num_sink_tokens=num_sink):
                forced = (position < num_sink) | (page >= last_page - num_local // self._page_size)
                scores = torch.tensor([self._score(group, keys[page == one]) for one in range(last_page + 1)])
                scores[page[forced].unique()] = float("-inf")
                chosen = scores.sort(descending=True).indices[:top_blocks]
                return forced | torch.isin(page, chosen)

    def _score(self, group: torch.Tensor, keys: torch.Tensor) -> float:
        if self._kind is PageSummaryKind.MEAN:
            return float(group.mean(0) @ keys.mean(0))
        return float(torch.maximum(group * keys.amin(0), group * keys.amax(0)).sum(-1).mean())
