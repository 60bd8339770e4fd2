"""The decoder with fewer launches: residual and norm, norm and rotation, and the gate are one kernel each.

A variant beside `Decoder`, which computes the same by plain torch: which one a device is served better by is for a
measurement to say. Prefill is that of `Decoder`.
"""

from __future__ import annotations

import torch

from kinetics.engine.attention import Attention, DecodeBatch
from kinetics.engine.decoder import Decoder, Rotary
from kinetics.engine.linear import linear
from kinetics.engine.weights import LayerWeights
from kinetics_kernels.elementwise.api import add_norm, gated, norm_and_rotate


class FusedDecoder(Decoder):
    """A decoder whose decode step takes eight launches a layer besides attention."""

    @torch.inference_mode()
    def decode(self, token_ids: torch.Tensor, batch: DecodeBatch, attention: Attention) -> torch.Tensor:
        """Logits [batch, vocab_size] after one new token per request; token_ids: int64 [batch]."""
        epsilon = self.spec.norm_epsilon
        hidden, update = self._embed(token_ids), None
        rotary = self._rotary(batch.seq_lens - 1)
        for index, (layer, qk_norm) in enumerate(zip(self.weights.layers, self._qk_norms, strict=True)):
            hidden, normed = add_norm(hidden, update, layer.input_norm, epsilon=epsilon)
            q, k, v = self._fused_heads(normed, layer, qk_norm, rotary)
            attended = attention(index, q, k, v, batch)
            update = self.ranks.all_reduce(linear(attended.flatten(1), layer.output))
            hidden, normed = add_norm(hidden, update, layer.mlp_norm, epsilon=epsilon)
            update = self.ranks.all_reduce(self._mlp(normed, layer))
        _, normed = add_norm(hidden, update, self.weights.final_norm, epsilon=epsilon)
        return self.ranks.gather(linear(normed, self.weights.head))[..., : self.vocab_size]

    def _fused_heads(
        self, normed: torch.Tensor, layer: LayerWeights, qk_norm: torch.Tensor | None, rotary: Rotary
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values of the tokens, [num_tokens, heads, head_dim], rotated to their positions."""
        model = self.spec.model
        heads = linear(normed, layer.qkv, layer.qkv_bias).view(len(normed), -1, model.head_dim)
        num_qk = model.num_q_heads + model.num_kv_heads
        qk = norm_and_rotate(heads[:, :num_qk], qk_norm, *rotary, epsilon=self.spec.norm_epsilon)
        q, k = torch.split(qk, [model.num_q_heads, model.num_kv_heads], dim=1)
        return q, k, heads[:, num_qk:]

    def _mlp(self, normed: torch.Tensor, layer: LayerWeights) -> torch.Tensor:
        if layer.router is not None:
            return super()._mlp(normed, layer)
        return linear(gated(linear(normed, layer.gate_up)), layer.down)
