"""The weights of one model as the engine multiplies with them, and random ones to measure with.

Projections that share an input are stacked: query, key and value in one matrix, gate and up in another. Nothing is
read from disk here; `kinetics.engine.checkpoint` does that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch

from kinetics.specs.models import ModelSpec

_RANDOM_PERIOD = 1_048_583
"""Random weights repeat after this many elements, a prime: drawing 600 million of them takes half a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWeights:
    """One layer. qkv: [(num_q_heads + 2 num_kv_heads) * head_dim, hidden_size], query rows first, then key, then value.

    gate_up: [2 * intermediate_size, hidden_size], gate rows first; down: [hidden_size, intermediate_size]. With
    experts both have a leading [num_experts], and router is [num_experts, hidden_size].
    """

    input_norm: torch.Tensor
    qkv: torch.Tensor
    qkv_bias: torch.Tensor | None
    q_norm: torch.Tensor | None
    k_norm: torch.Tensor | None
    output: torch.Tensor
    mlp_norm: torch.Tensor
    router: torch.Tensor | None
    gate_up: torch.Tensor
    down: torch.Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelWeights:
    """A whole model. `head` is the same tensor as `embedding` where the model ties them."""

    embedding: torch.Tensor
    layers: tuple[LayerWeights, ...]
    final_norm: torch.Tensor
    head: torch.Tensor

    def tensors(self) -> Iterator[torch.Tensor]:
        """Every distinct tensor once."""
        yield from (self.embedding, self.final_norm)
        if self.head is not self.embedding:
            yield self.head
        for layer in self.layers:
            yield from (tensor for f in fields(layer) if (tensor := getattr(layer, f.name)) is not None)

    @property
    def num_bytes(self) -> int:
        """Memory the weights take."""
        return sum(tensor.nbytes for tensor in self.tensors())


def empty_weights(model: ModelSpec, *, device: torch.device | str, dtype: torch.dtype) -> ModelWeights:
    """Weights of the right shapes whose values are whatever the memory held."""

    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device=device)

    embedding = empty(model.vocab_size, model.hidden_size)
    return ModelWeights(
        embedding=embedding,
        layers=tuple(_empty_layer(model, device=device, dtype=dtype) for _ in range(model.num_layers)),
        final_norm=empty(model.hidden_size),
        head=embedding if model.ties_embeddings else empty(model.vocab_size, model.hidden_size),
    )


def random_weights(model: ModelSpec, *, device: torch.device | str, dtype: torch.dtype, seed: int) -> ModelWeights:
    """Weights made on the device: norms of one, biases of zero, matrices that keep the size of what they multiply.

    They repeat with a long period; a decode step is as fast with them as with others.
    """
    weights = empty_weights(model, device=device, dtype=dtype)
    generator = torch.Generator(device=device).manual_seed(seed)
    period = min(_RANDOM_PERIOD, model.vocab_size * model.hidden_size)
    noise = torch.randn(period, generator=generator, device=device)
    for tensor in weights.tensors():
        if tensor.dim() == 1:
            tensor.fill_(1.0)
        else:
            fill_repeating(tensor, (noise * tensor.shape[-1] ** -0.5).to(dtype))
    for layer in weights.layers:
        if layer.qkv_bias is not None:
            layer.qkv_bias.zero_()
    return weights


def _empty_layer(model: ModelSpec, *, device: torch.device | str, dtype: torch.dtype) -> LayerWeights:
    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device=device)

    hidden, width, dim = model.hidden_size, model.intermediate_size, model.head_dim
    qkv_rows = (model.num_q_heads + 2 * model.num_kv_heads) * dim
    experts = (model.num_experts,) if model.num_experts else ()
    return LayerWeights(
        input_norm=empty(hidden),
        qkv=empty(qkv_rows, hidden),
        qkv_bias=empty(qkv_rows) if model.has_qkv_bias else None,
        q_norm=empty(dim) if model.has_qk_norm else None,
        k_norm=empty(dim) if model.has_qk_norm else None,
        output=empty(hidden, model.num_q_heads * dim),
        mlp_norm=empty(hidden),
        router=empty(model.num_experts, hidden) if model.num_experts else None,
        gate_up=empty(*experts, 2 * width, hidden),
        down=empty(*experts, hidden, width),
    )


def fill_repeating(tensor: torch.Tensor, period: torch.Tensor) -> None:
    """Fill a contiguous tensor with a period of values, over and over: drawing billions of numbers takes minutes."""
    flat = tensor.view(-1)
    num_whole = len(flat) // len(period)
    whole = flat[: num_whole * len(period)]
    whole.view(num_whole, len(period)).copy_(period)
    flat[len(whole) :] = period[: len(flat) - len(whole)]
