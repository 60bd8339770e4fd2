"""What one of several ranks holds of a model they share: some of the heads, of the MLP's width, of the vocabulary."""

from __future__ import annotations

from dataclasses import replace

from kinetics.specs.models import ModelSpec


def shard_of(model: ModelSpec, num_ranks: int) -> ModelSpec:
    """What one rank holds of a model. Experts are cut through their width, so that every rank has part of each.

    A vocabulary that does not divide is rounded up; the decoder cuts the logits of tokens that are none.

    Raises: ValueError if the ranks do not divide the heads or the width.
    """
    for what in ("num_q_heads", "num_kv_heads", "intermediate_size"):
        if getattr(model, what) % num_ranks:
            raise ValueError(
                f"the number of ranks must divide {what} of {model.name}, got {num_ranks} and {getattr(model, what)}"
            )
    return replace(
        model,
        num_q_heads=model.num_q_heads // num_ranks,
        num_kv_heads=model.num_kv_heads // num_ranks,
        intermediate_size=model.intermediate_size // num_ranks,
        vocab_size=-(-model.vocab_size // num_ranks),
    )
