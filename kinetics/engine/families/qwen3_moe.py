"""Qwen3 with experts in every layer: each token is sent to a few of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kinetics.engine.config_fields import decoder_spec, refuse_sliding_window
from kinetics.engine.decoder_spec import DecoderSpec

MODEL_TYPE: Final = "qwen3_moe"


def read(config: Mapping[str, Any], *, name: str) -> DecoderSpec:
    """The spec of a Qwen3 with experts; their weights sum to one if the config says so."""
    refuse_sliding_window(config, name)
    normalizes = config.get("norm_topk_prob", False)
    if not isinstance(normalizes, bool):
        raise ValueError(f"norm_topk_prob in the config of {name} must be true or false, got {str(normalizes)[:40]!r}")
    return decoder_spec(config, name=name, normalizes_expert_weights=normalizes)
