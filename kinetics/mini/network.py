"""The Qwen3 architecture as a torch module that can be trained; its parameters bear the names of checkpoints.

Whole sequences, in the dtype of the parameters, without a cache. Generating is the engine's business. Attention is
dense, or sees what sparse attention is sure to keep: a model that has never missed a key does not know how to.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import nn
from torch.nn.functional import linear, rms_norm, scaled_dot_product_attention, silu

from kinetics.engine.decoder import rotate
from kinetics.specs.models import ModelSpec

ROPE_THETA: Final = 10_000.0
NORM_EPSILON: Final = 1e-6
MAX_POSITION: Final = 4096
PAGE_SIZE: Final = 16
NUM_SINK_TOKENS: Final = 4 * PAGE_SIZE
"""The pages that hold the whole problem."""

Rotary = tuple[torch.Tensor, torch.Tensor]


class RmsNorm(nn.Module):
    """x over its root mean square along the last dimension, times a weight."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As large as x."""
        return rms_norm(x, (x.shape[-1],), self.weight, NORM_EPSILON)


class _SelfAttention(nn.Module):
    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        q_width, kv_width = spec.num_q_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim
        self.head_dim = spec.head_dim
        self.q_proj = nn.Linear(spec.hidden_size, q_width, bias=False)
        self.k_proj = nn.Linear(spec.hidden_size, kv_width, bias=False)
        self.v_proj = nn.Linear(spec.hidden_size, kv_width, bias=False)
        self.o_proj = nn.Linear(q_width, spec.hidden_size, bias=False)
        self.q_norm, self.k_norm = RmsNorm(spec.head_dim), RmsNorm(spec.head_dim)

    def forward(self, x: torch.Tensor, rotary: Rotary, mask: torch.Tensor | None) -> torch.Tensor:
        q, k, v = (
            projection(x).unflatten(-1, (-1, self.head_dim)) for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(self.q_norm(q), rotary), rotate(self.k_norm(k), rotary)
        q, k, v = (heads.transpose(1, 2) for heads in (q, k, v))
        attended = scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=q.shape[1] != k.shape[1]
        )
        out: torch.Tensor = self.o_proj(attended.transpose(1, 2).flatten(2))
        return out


class _Mlp(nn.Module):
    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(spec.hidden_size, spec.intermediate_size, bias=False)
        self.up_proj = nn.Linear(spec.hidden_size, spec.intermediate_size, bias=False)
        self.down_proj = nn.Linear(spec.intermediate_size, spec.hidden_size, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.down_proj(silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class _Layer(nn.Module):
    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = RmsNorm(spec.hidden_size), RmsNorm(spec.hidden_size)
        self.self_attn, self.mlp = _SelfAttention(spec), _Mlp(spec)

    def forward(self, x: torch.Tensor, rotary: Rotary, mask: torch.Tensor | None) -> torch.Tensor:
        x = x + self.self_attn(self.input_layernorm(x), rotary, mask)
        out: torch.Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class _Body(nn.Module):
    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(spec.vocab_size, spec.hidden_size)
        self.layers = nn.ModuleList(_Layer(spec) for _ in range(spec.num_layers))
        self.norm = RmsNorm(spec.hidden_size)
        exponents = torch.arange(0, spec.head_dim, 2) / spec.head_dim
        angles = torch.arange(MAX_POSITION)[:, None] / ROPE_THETA**exponents
        angles = torch.cat([angles, angles], dim=-1)[:, None]
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def rotary(self, positions: torch.Tensor) -> Rotary:
        """Cosine and sine of the angles at these positions, [length, 1, head_dim] each."""
        return self.get_buffer("cos")[positions], self.get_buffer("sin")[positions]


class TrainableDecoder(nn.Module):
    """A decoder with tied embeddings whose state dict is that of a Qwen3 checkpoint."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.model = _Body(spec)
        self._init_parameters()

    def forward(
        self, token_ids: torch.Tensor, positions: torch.Tensor | None = None, *, is_sparse: bool = False
    ) -> torch.Tensor:
        """Logits [batch, length, vocab_size] after each token; token_ids: int64 [batch, length].

        positions: int64 [length], rising; 0, 1, 2, ... if not given.
        """
        if positions is None:
            positions = torch.arange(token_ids.shape[1])
        rotary, mask = self.model.rotary(positions), sparse_mask(positions) if is_sparse else None
        x = self.model.embed_tokens(token_ids)
        for layer in self.model.layers:
            x = layer(x, rotary, mask)
        return linear(self.model.norm(x), self.model.embed_tokens.weight)

    def _init_parameters(self) -> None:
        """Matrices keep the size of what they multiply; those that add to the residual start at zero."""
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(parameter)


def sparse_mask(positions: torch.Tensor) -> torch.Tensor:
    """Which keys each token sees if only the problem's pages, its own page and the one before are kept.

    bool [length, length], rows are queries; positions rise: int64 [length].
    """
    is_past = positions[:, None] >= positions
    is_near = positions >= (positions[:, None] // PAGE_SIZE - 1) * PAGE_SIZE
    return is_past & (is_near | (positions < NUM_SINK_TOKENS))
