"""Writing a trained miniature as an ordinary model folder: config, weights in bfloat16, tokenizer, training record.

Reading one back is the engine's business, or transformers'.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from kinetics.mini.network import MAX_POSITION, NORM_EPSILON, ROPE_THETA
from kinetics.mini.tokenizer import END_ID, make_tokenizer
from kinetics.specs.models import ModelSpec


def write_model_folder(
    folder: Path, spec: ModelSpec, state: Mapping[str, torch.Tensor], *, training: Mapping[str, Any]
) -> None:
    """Write `config.json`, `model.safetensors`, `tokenizer.json` and `training.json`, replacing what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in state.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    make_tokenizer().save(str(folder / "tokenizer.json"))
    _write_json(folder / "config.json", _config(spec))
    _write_json(folder / "training.json", training)


def _config(spec: ModelSpec) -> dict[str, Any]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "dtype": "bfloat16",
        "eos_token_id": END_ID,
        "head_dim": spec.head_dim,
        "hidden_act": "silu",
        "hidden_size": spec.hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": spec.intermediate_size,
        "max_position_embeddings": MAX_POSITION,
        "num_attention_heads": spec.num_q_heads,
        "num_hidden_layers": spec.num_layers,
        "num_key_value_heads": spec.num_kv_heads,
        "rms_norm_eps": NORM_EPSILON,
        "rope_scaling": None,
        "rope_theta": ROPE_THETA,
        "tie_word_embeddings": spec.ties_embeddings,
        "use_sliding_window": False,
        "vocab_size": spec.vocab_size,
    }


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
