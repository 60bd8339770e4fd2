"""What computing a model needs besides the shapes of its `ModelSpec`: constants of norms, rotary and routing.

Read from a Hugging Face `config.json`. A setting the engine does not compute (other rotary scalings than Llama 3's,
sliding windows, another activation) is refused here, before a weight is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kinetics.engine.rotary import Llama3Scaling
from kinetics.specs.models import ModelSpec

_DEFAULT_NORM_EPSILON = 1e-6
_DEFAULT_ROPE_THETA = 1e6
_DEFAULT_MAX_POSITION = 40_960


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderSpec:
    """One model as the engine computes it. `max_position`: tokens of prompt and answer together.

    `normalizes_expert_weights`: the weights of the experts a token is sent to are scaled to sum to one.
    """

    model: ModelSpec
    norm_epsilon: float
    rope_theta: float
    max_position: int
    eos_token_ids: tuple[int, ...]
    normalizes_expert_weights: bool
    rope_scaling: Llama3Scaling | None = None

    @classmethod
    def for_random_weights(cls, model: ModelSpec) -> DecoderSpec:
        """The constants of Qwen3, for models whose weights are random and whose text means nothing."""
        return cls(
            model=model,
            norm_epsilon=_DEFAULT_NORM_EPSILON,
            rope_theta=_DEFAULT_ROPE_THETA,
            max_position=_DEFAULT_MAX_POSITION,
            eos_token_ids=(),
            normalizes_expert_weights=True,
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, name: str) -> DecoderSpec:
        """The spec that a `config.json` describes.

        Raises: ValueError if the family is unknown, a field is missing, or a setting is one the engine lacks.
        """
        model = ModelSpec.from_config(config, name=name)
        _refuse(config, name)
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        theta = rope.get("rope_theta", config.get("rope_theta"))
        for field, value in (("rope_theta", theta), ("rms_norm_eps", config.get("rms_norm_eps"))):
            if not isinstance(value, int | float) or value <= 0:
                raise ValueError(f"{field} in the config of {name} must be a positive number, got {value!r}")
        max_position = config.get("max_position_embeddings")
        if not isinstance(max_position, int) or max_position < 1:
            raise ValueError(f"max_position_embeddings in the config of {name} must be positive, got {max_position!r}")
        assert isinstance(theta, int | float)
        return cls(
            model=model,
            norm_epsilon=float(config["rms_norm_eps"]),
            rope_theta=float(theta),
            max_position=max_position,
            eos_token_ids=_token_ids(config.get("eos_token_id"), name),
            normalizes_expert_weights=bool(config.get("norm_topk_prob", False)),
            rope_scaling=Llama3Scaling.from_config(rope, name=name) if _rope_type(rope) == "llama3" else None,
        )


def _refuse(config: Mapping[str, Any], name: str) -> None:
    rope_type = _rope_type(config.get("rope_scaling") or config.get("rope_parameters") or {})
    if rope_type not in ("default", "llama3"):
        raise ValueError(
            f"rope type of {name} must be 'default' or 'llama3', got {rope_type!r}; "
            "other scalings of rotary positions are not computed here"
        )
    activation = config.get("hidden_act", "silu")
    if activation != "silu":
        raise ValueError(f"hidden_act of {name} must be 'silu', got {activation!r}")
    if config.get("use_sliding_window"):
        raise ValueError(f"use_sliding_window of {name} must be false, got true; choose the local policy instead")


def _rope_type(rope: Mapping[str, Any]) -> str:
    return str(rope.get("rope_type", rope.get("type", "default")))


def _token_ids(value: Any, name: str) -> tuple[int, ...]:
    ids = () if value is None else tuple(value) if isinstance(value, list | tuple) else (value,)
    if not all(isinstance(token, int) for token in ids):
        raise ValueError(f"eos_token_id in the config of {name} must be an integer or a list of them, got {value!r}")
    return ids
