"""Fields of a `config.json` that decide what the engine computes, checked before they are believed.

What a family allows is said in its file under `families/`; how a field is read, here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from kinetics.engine.decoder_spec import DecoderSpec
from kinetics.engine.rotary import Llama3Scaling
from kinetics.specs.models import ModelSpec

MAX_SIZE: Final = 2**31 - 1
"""Of any dimension: shapes of the kernels are 32-bit."""


def decoder_spec(
    config: Mapping[str, Any],
    *,
    name: str,
    rope_types: Sequence[str] = ("default",),
    normalizes_expert_weights: bool = False,
) -> DecoderSpec:
    """The spec of a model whose shape a `ModelSpec` tells; `rope_types`: how the family's rotary positions may be.

    Raises: ValueError naming the field that is missing, wrong, or asks for what the engine does not compute.
    """
    model = ModelSpec.from_config(config, name=name)
    _refuse_sizes(model)
    _refuse_activation(config, name)
    rope = _rope(config, name, rope_types)
    theta = rope.get("rope_theta", config.get("rope_theta"))
    return DecoderSpec(
        model=model,
        norm_epsilon=positive(config.get("rms_norm_eps"), f"rms_norm_eps in the config of {name}"),
        rope_theta=positive(theta, f"rope_theta in the config of {name}"),
        rope_scaling=Llama3Scaling.from_config(rope, name=name) if _rope_type(rope) == "llama3" else None,
        max_position=_max_position(config, name),
        eos_token_ids=_token_ids(config.get("eos_token_id"), name),
        normalizes_expert_weights=normalizes_expert_weights,
    )


def refuse_sliding_window(config: Mapping[str, Any], name: str) -> None:
    """Some Qwen models attend to a window in some layers.

    Raises: ValueError if this one does.
    """
    if config.get("use_sliding_window"):
        raise ValueError(f"use_sliding_window of {name} must be false, got true; choose the local policy instead")


def positive(value: Any, what: str) -> float:
    """A number above zero that a float holds.

    Raises: ValueError otherwise.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1e300:
        raise ValueError(f"{what} must be a positive number, got {str(value)[:40]!r}")
    return float(value)


def _rope(config: Mapping[str, Any], name: str, rope_types: Sequence[str]) -> Mapping[str, Any]:
    """Rotary settings: transformers 5 writes `rope_parameters`, older versions wrote `rope_scaling` or nothing."""
    found = [config[key] for key in ("rope_parameters", "rope_scaling") if config.get(key)]
    for rope in found:
        if not isinstance(rope, Mapping):
            raise ValueError(f"rope_parameters in the config of {name} must be an object, got {str(rope)[:40]!r}")
        if _rope_type(rope) not in rope_types:
            raise ValueError(
                f"rope type of {name} must be {' or '.join(map(repr, rope_types))}, got {_rope_type(rope)[:40]!r}; "
                "other scalings of rotary positions are not computed here"
            )
    if len({_rope_type(rope) for rope in found}) > 1:
        raise ValueError(f"rope_parameters and rope_scaling of {name} must agree, got two types")
    return found[0] if found else {}


def _rope_type(rope: Mapping[str, Any]) -> str:
    return str(rope.get("rope_type", rope.get("type", "default")))


def _refuse_sizes(model: ModelSpec) -> None:
    sizes = {
        "hidden_size": model.hidden_size,
        "vocab_size": model.vocab_size,
        "head_dim": model.head_dim,
        "num_attention_heads": model.num_q_heads,
        "intermediate_size": model.intermediate_size,
        "num_hidden_layers": model.num_layers,
        "num_experts": model.num_experts,
    }
    for field, size in sizes.items():
        if size > MAX_SIZE:
            raise ValueError(f"{field} of {model.name} must be at most {MAX_SIZE}, got a larger one")
    if model.head_dim % 2:
        raise ValueError(f"head_dim of {model.name} must be even, got {model.head_dim}; rotation turns pairs")


def _refuse_activation(config: Mapping[str, Any], name: str) -> None:
    activation = config.get("hidden_act", "silu")
    if activation != "silu":
        raise ValueError(f"hidden_act of {name} must be 'silu', got {str(activation)[:40]!r}")


def _max_position(config: Mapping[str, Any], name: str) -> int:
    value = config.get("max_position_embeddings")
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_SIZE:
        raise ValueError(
            f"max_position_embeddings in the config of {name} must lie in 1..{MAX_SIZE}, got {str(value)[:40]!r}"
        )
    return value


def _token_ids(value: Any, name: str) -> tuple[int, ...]:
    ids = () if value is None else tuple(value) if isinstance(value, list | tuple) else (value,)
    if not all(isinstance(token, int) and not isinstance(token, bool) for token in ids):
        raise ValueError(
            f"eos_token_id in the config of {name} must be an integer or a list of them, got {str(value)[:40]!r}"
        )
    return ids
