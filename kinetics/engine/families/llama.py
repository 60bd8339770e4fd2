"""Llama 3, SmolLM2 and DeepSeek's distillates of Llama: no biases, no norms on heads; contexts may be stretched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kinetics.engine.config_fields import decoder_spec
from kinetics.engine.decoder_spec import DecoderSpec

MODEL_TYPE: Final = "llama"


def read(config: Mapping[str, Any], *, name: str) -> DecoderSpec:
    """The spec of a Llama; rotary positions as trained, or stretched as Llama 3.1 stretches them."""
    return decoder_spec(config, name=name, rope_types=("default", "llama3"))
