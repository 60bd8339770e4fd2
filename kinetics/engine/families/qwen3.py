"""Qwen3: norms on query and key heads, no biases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kinetics.engine.config_fields import decoder_spec, refuse_sliding_window
from kinetics.engine.decoder_spec import DecoderSpec

MODEL_TYPE: Final = "qwen3"


def read(config: Mapping[str, Any], *, name: str) -> DecoderSpec:
    """The spec of a Qwen3 that attends to all keys."""
    refuse_sliding_window(config, name)
    return decoder_spec(config, name=name)
