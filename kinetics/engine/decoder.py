"""The decoder of Llama, Qwen2, Qwen3 and Qwen3-MoE: norms, rotary positions, projections, MLPs, in prefill and decode.

Knows one step for one batch; which requests are in it, and where their pages lie, is decided elsewhere. In decode
nothing waits for the host, so that a step can be captured in a CUDA graph.
"""

from __future__ import annotations

import torch
from torch.nn.functional import scaled_dot_product_attention, silu

from kinetics.engine.attention import Attention, DecodeBatch
from kinetics.engine.decoder_spec import DecoderSpec
from kinetics.engine.kv_cache import KvCache, PagedSequence
from kinetics.engine.linear import linear
from kinetics.engine.moe import experts_mlp
from kinetics.engine.rotary import radians_per_token
from kinetics.engine.tensor_parallel import ALONE, RankGroup
from kinetics.engine.weights import LayerWeights, ModelWeights
from kinetics.specs.models import ModelSpec
from kinetics_kernels.shapes import num_pages_for

PREFILL_CHUNK_TOKENS = 512
"""Prompt tokens computed together: enough for the matrix products, few enough for their activations."""

Rotary = tuple[torch.Tensor, torch.Tensor]
"""Cosine and sine of each token's angles, [num_tokens, 1, head_dim]."""


class Decoder:
    """One model with its weights. All methods run in inference mode.

    Of a model that several ranks share, `spec` and `weights` are one rank's (`kinetics.engine.tensor_parallel`), and
    `vocab_size` is the whole model's; all ranks must make the same calls.
    """

    def __init__(
        self, spec: DecoderSpec, weights: ModelWeights, *, ranks: RankGroup = ALONE, vocab_size: int | None = None
    ) -> None:
        self.spec = spec
        self.weights = weights
        self.ranks = ranks
        self.vocab_size = vocab_size or spec.model.vocab_size
        self._qk_norms = [_stacked_qk_norm(layer, spec.model) for layer in weights.layers]
        self._radians_per_token = radians_per_token(
            spec.model.head_dim, theta=spec.rope_theta, scaling=spec.rope_scaling, device=weights.embedding.device
        )

    @torch.inference_mode()
    def decode(self, token_ids: torch.Tensor, batch: DecodeBatch, attention: Attention) -> torch.Tensor:
        """Logits [batch, vocab_size] after one new token per request; token_ids: int64 [batch]."""
        hidden = self._embed(token_ids)
        rotary = self._rotary(batch.seq_lens - 1)
        for index, (layer, qk_norm) in enumerate(zip(self.weights.layers, self._qk_norms, strict=True)):
            q, k, v = self._project(hidden, layer, qk_norm, rotary)
            attended = attention(index, q, k, v, batch)
            hidden = self._finish_layer(hidden, attended, layer)
        return self._logits(hidden)

    @torch.inference_mode()
    def prefill(
        self,
        token_ids: torch.Tensor,
        cache: KvCache,
        sequence: PagedSequence,
        *,
        backend: str = "auto",
        chunk_tokens: int = PREFILL_CHUNK_TOKENS,
    ) -> torch.Tensor:
        """Add a prompt to a sequence, chunk by chunk, every key attended; logits [vocab_size] after its last token.

        token_ids: int64 [num_tokens]. Raises: ValueError if it is empty, too long for the model, or for the pages.
        """
        num_tokens = sequence.num_tokens + len(token_ids)
        if not len(token_ids) or num_tokens > self.spec.max_position:
            raise ValueError(
                f"a prompt of {self.spec.model.name} must end within 1..{self.spec.max_position} tokens, "
                f"got {num_tokens}; shorten it"
            )
        cache.reserve(sequence, len(token_ids))
        hidden = torch.empty(0)
        for chunk in torch.split(token_ids, chunk_tokens):
            hidden = self._prefill_chunk(chunk, cache, sequence)
            sequence.num_tokens += len(chunk)
        cache.summarize_sequence(sequence, backend=backend)
        return self._logits(hidden[-1:])[0]

    def _prefill_chunk(self, token_ids: torch.Tensor, cache: KvCache, sequence: PagedSequence) -> torch.Tensor:
        first, last = sequence.num_tokens, sequence.num_tokens + len(token_ids)
        device = token_ids.device
        pages = torch.tensor(sequence.pages, device=device)
        positions = torch.arange(first, last, device=device)
        mask = positions[:, None] >= torch.arange(last, device=device)[None]
        hidden, rotary = self._embed(token_ids), self._rotary(positions)
        for index, (layer, qk_norm) in enumerate(zip(self.weights.layers, self._qk_norms, strict=True)):
            q, k, v = self._project(hidden, layer, qk_norm, rotary)
            cache.write_chunk(index, pages, first, k, v)
            used = pages[: num_pages_for(last, cache.page_size)]
            keys, values = (
                tensor[used].flatten(0, 1)[:last].transpose(0, 1).to(q.dtype)
                for tensor in (cache.layers[index].keys, cache.layers[index].values)
            )
            attended = scaled_dot_product_attention(
                q.transpose(0, 1)[None], keys[None], values[None], attn_mask=mask, enable_gqa=True
            )
            hidden = self._finish_layer(hidden, attended[0].transpose(0, 1), layer)
        return hidden

    def _embed(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Rows of the embedding; a rank that shares it looks up its own tokens, the others add the rest."""
        if self.ranks.num_ranks == 1:
            return self.weights.embedding[token_ids]
        num_rows = len(self.weights.embedding)
        own = token_ids - self.ranks.rank * num_rows
        is_own = (own >= 0) & (own < num_rows)
        return self.ranks.all_reduce(self.weights.embedding[own.clamp(0, num_rows - 1)] * is_own[:, None])

    def _project(
        self, hidden: torch.Tensor, layer: LayerWeights, qk_norm: torch.Tensor | None, rotary: Rotary
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values of the tokens, [num_tokens, heads, head_dim], rotated to their positions."""
        model, epsilon = self.spec.model, self.spec.norm_epsilon
        stacked = linear(rms_norm(hidden, layer.input_norm, epsilon), layer.qkv, layer.qkv_bias)
        heads = stacked.view(len(hidden), -1, model.head_dim)
        num_qk = model.num_q_heads + model.num_kv_heads
        qk, v = heads[:, :num_qk], heads[:, num_qk:]
        if qk_norm is not None:
            qk = rms_norm(qk, qk_norm, epsilon)
        q, k = torch.split(rotate(qk, rotary), [model.num_q_heads, model.num_kv_heads], dim=1)
        return q, k, v

    def _finish_layer(self, hidden: torch.Tensor, attended: torch.Tensor, layer: LayerWeights) -> torch.Tensor:
        """Output projection, residuals and MLP."""
        hidden = hidden + self.ranks.all_reduce(linear(attended.flatten(1), layer.output))
        normed = rms_norm(hidden, layer.mlp_norm, self.spec.norm_epsilon)
        return hidden + self.ranks.all_reduce(self._mlp(normed, layer))

    def _mlp(self, normed: torch.Tensor, layer: LayerWeights) -> torch.Tensor:
        if layer.router is not None:
            return experts_mlp(
                normed,
                layer,
                num_experts_per_token=self.spec.model.num_experts_per_token,
                normalizes_weights=self.spec.normalizes_expert_weights,
            )
        gate, up = linear(normed, layer.gate_up).chunk(2, dim=-1)
        return linear(silu(gate) * up, layer.down)

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        own = linear(rms_norm(hidden, self.weights.final_norm, self.spec.norm_epsilon), self.weights.head)
        return self.ranks.gather(own)[..., : self.vocab_size]

    def _rotary(self, positions: torch.Tensor) -> Rotary:
        angles = positions.float()[:, None] * self._radians_per_token
        angles = torch.cat([angles, angles], dim=-1)[:, None]
        dtype = self.weights.embedding.dtype
        return angles.cos().to(dtype), angles.sin().to(dtype)


def _stacked_qk_norm(layer: LayerWeights, model: ModelSpec) -> torch.Tensor | None:
    """The norm weights of query and key heads one after the other, so that both are normed at once; None without."""
    if layer.q_norm is None or layer.k_norm is None:
        return None
    return torch.cat([layer.q_norm.expand(model.num_q_heads, -1), layer.k_norm.expand(model.num_kv_heads, -1)])


def rms_norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    """x over its root mean square along the last dimension, in float32, times weight."""
    wide = x.float()
    normed = wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + epsilon)
    return normed.to(x.dtype) * weight


def rotate(heads: torch.Tensor, rotary: Rotary) -> torch.Tensor:
    """Rotate each pair (d, d + head_dim / 2) of every head by its token's angle."""
    cos, sin = rotary
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat([-second, first], dim=-1) * sin
