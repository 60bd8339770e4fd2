"""From logits to tokens: greedy, temperature, top-k, top-p, with a seed per request.

The random number of a token is a hash of its request's seed and of the token's place, and every row is treated by
itself in one order of sums: a sample does not depend on what else is in the batch, nor on what was drawn before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch

from kinetics.specs.generation import SamplingSettings

_MASK_64 = 2**64 - 1
_GOLDEN = 0x9E3779B97F4A7C15


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) that the seed of a request and the place of a token decide.

    Source: SplitMix64 (Steele, Lea, Flood 2014), its output function applied to seed and place in turn.
    """
    mixed = _mix((_mix(seed & _MASK_64) + _GOLDEN * (position + 1)) & _MASK_64)
    return (mixed >> 11) * 2.0**-53


def sample(
    logits: torch.Tensor, settings: Sequence[SamplingSettings], seeds: Sequence[int], positions: Sequence[int]
) -> list[int]:
    """One token per row of logits [batch, vocab_size]; `positions` counts the tokens each request already has."""
    rows_of: dict[int | None, list[int]] = defaultdict(list)
    for row, one in enumerate(settings):
        rows_of[None if one.temperature == 0.0 else one.top_k].append(row)
    tokens = [0] * len(settings)
    for top_k, rows in rows_of.items():
        part = logits if len(rows) == len(settings) else logits[rows]
        if top_k is None:
            chosen = part.argmax(dim=-1)
        else:
            uniforms = [uniform(seeds[row], positions[row]) for row in rows]
            chosen = _draw(part, [settings[row] for row in rows], uniforms, top_k=top_k)
        for row, token in zip(rows, chosen.tolist(), strict=True):
            tokens[row] = token
    return tokens


def _draw(
    logits: torch.Tensor, settings: Sequence[SamplingSettings], uniforms: Sequence[float], *, top_k: int
) -> torch.Tensor:
    """Invert the cumulative distribution of the tokens kept, in float64; settings share `top_k`."""
    device = logits.device
    num_kept = min(top_k or logits.shape[-1], logits.shape[-1])
    best, ids = torch.topk(logits, num_kept, dim=-1)
    temperature = torch.tensor([one.temperature for one in settings], dtype=torch.float64, device=device)[:, None]
    top_p = torch.tensor([one.top_p for one in settings], dtype=torch.float64, device=device)[:, None]
    weights = ((best.double() - best[:, :1].double()) / temperature).exp()
    cumulative = weights.cumsum(dim=-1)
    # A token stays if those before it do not reach top_p: the first always does.
    is_kept = cumulative - weights < top_p * cumulative[:, -1:]
    total = weights.where(is_kept, 0.0).cumsum(dim=-1)
    wanted = torch.tensor(uniforms, dtype=torch.float64, device=device)[:, None] * total[:, -1:]
    place = torch.searchsorted(total, wanted, right=True).clamp(max=num_kept - 1)
    return ids.gather(1, place)[:, 0]


def _mix(state: int) -> int:
    state = (state + _GOLDEN) & _MASK_64
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK_64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK_64
    return state ^ (state >> 31)
