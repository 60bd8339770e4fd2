"""What computing a model needs besides the shapes of its `ModelSpec`: constants of norms, rotary and routing.

How one is read from a `config.json` is the business of its family, under `families/`.
"""

from __future__ import annotations

from dataclasses import dataclass

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
