"""The miniature family as others use it: which models there are, where they lie, and the problems they are tested on.

The models check the pipeline and show the shape of the scaling law; they are no claim about language models.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from kinetics.mini.contest import (
    ATTEMPT_SYMBOLS,
    NUM_TEST_SEEDS,
    SYMBOLS,
    ContestProblem,
    make_problem,
    solution_length,
)
from kinetics.specs.models import ModelSpec

MAX_NEW_TOKENS: Final = 2560
"""The cap on a solution: room for 319 attempts and an answer, which nine of ten blind searches need no more of."""
MAX_MISSES: Final = (MAX_NEW_TOKENS - solution_length(0)) // ATTEMPT_SYMBOLS


def _mini(name: str, layers: int, hidden: int, heads: tuple[int, int], width: int) -> ModelSpec:
    return ModelSpec(
        name=name,
        num_layers=layers,
        hidden_size=hidden,
        num_q_heads=heads[0],
        num_kv_heads=heads[1],
        head_dim=64,
        intermediate_size=width,
        vocab_size=len(SYMBOLS) + 2,
        ties_embeddings=True,
        has_qkv_bias=False,
        has_qk_norm=True,
    )


# layers, hidden, (query heads, KV heads), MLP width
MINI_SPECS: Final = (
    _mini("mini-50k", 2, 32, (2, 2), 64),
    _mini("mini-200k", 3, 64, (2, 2), 160),
    _mini("mini-800k", 3, 128, (4, 4), 352),
)
MINI_MODELS: Final[tuple[str, ...]] = tuple(spec.name for spec in MINI_SPECS)
"""Smallest first."""


def mini_spec(name: str) -> ModelSpec:
    """The shape of one model of the family.

    Raises: ValueError if it is none of them.
    """
    for spec in MINI_SPECS:
        if spec.name == name:
            return spec
    raise ValueError(f"a miniature model must be one of {', '.join(MINI_MODELS)}, got {name!r}")


def model_folder(name: str) -> Path:
    """The folder of a trained model that came with this package, in the layout of Hugging Face.

    Raises: ValueError if it is none of the family.
    """
    return Path(__file__).parent / "models" / mini_spec(name).name


def contest_problems(count: int) -> tuple[ContestProblem, ...]:
    """The first `count` problems of the test set, always the same.

    Raises: ValueError if the test set is smaller.
    """
    if not 1 <= count <= NUM_TEST_SEEDS:
        raise ValueError(f"the number of contest problems must lie in 1..{NUM_TEST_SEEDS}, got {count}")
    return tuple(make_problem(seed) for seed in range(count))
