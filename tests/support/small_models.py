"""Small random models of the families that the engine knows, made by transformers and saved as safetensors."""

from __future__ import annotations

from typing import Any

import torch

VOCAB_SIZE = 320
MAX_POSITION = 512
FAMILIES = ("llama", "llama3_scaled", "qwen2", "qwen3", "qwen3_moe", "qwen3_moe_unscaled")

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
"""As Llama 3.1 has it, but for a first context so short that small tests pass it."""
_COMMON: dict[str, Any] = {
    "hidden_size": 128, "num_hidden_layers": 3, "intermediate_size": 192, "vocab_size": VOCAB_SIZE,
    "max_position_embeddings": MAX_POSITION, "initializer_range": 0.15, "rope_theta": 10_000.0,
    "rms_norm_eps": 0.05,
}  # fmt: skip
"""Settings are not those that a reader would fall back on: one that is ignored changes the logits."""


def make_model(family: str) -> Any:
    """A random model in evaluation mode whose norms and biases are not the trivial ones."""
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        Qwen2Config,
        Qwen2ForCausalLM,
        Qwen3Config,
        Qwen3ForCausalLM,
        Qwen3MoeConfig,
        Qwen3MoeForCausalLM,
    )

    torch.manual_seed(1)
    heads: dict[str, Any] = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64}
    experts: dict[str, Any] = {
        "num_experts": 8,
        "num_experts_per_tok": 3,
        "moe_intermediate_size": 96,
        "norm_topk_prob": family == "qwen3_moe",
    }
    if family.startswith("llama"):
        scaling = {"rope_parameters": LLAMA3_ROPE} if family == "llama3_scaled" else {}
        config = LlamaConfig(**_COMMON | scaling, **heads, tie_word_embeddings=family == "llama")
        model: Any = LlamaForCausalLM(config)
    elif family == "qwen2":
        qwen2_heads: dict[str, Any] = {
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
        }  # its head_dim is hidden_size / heads
        model = Qwen2ForCausalLM(Qwen2Config(**_COMMON, **qwen2_heads, tie_word_embeddings=False))
    elif family == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**_COMMON, **heads, tie_word_embeddings=True))
    else:
        model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**_COMMON, **heads, **experts, tie_word_embeddings=False))
    for name, parameter in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        elif name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()
