"""Published costs read backwards: how long one answer is that costs so much by the published formula."""

from __future__ import annotations

from typing import Final

import numpy as np

from kinetics.cost.published import paper_cost
from kinetics.law.intervals import FloatArray
from kinetics.specs.generation import MAX_GENERATED
from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import AttentionPolicy, Dense

PROMPT_LEN: Final = 200
LENGTHS: Final = np.unique(np.geomspace(1, MAX_GENERATED, 400).round())


def published_costs(model: ModelSpec, policy: AttentionPolicy) -> FloatArray:
    """Published 1e12 eFLOP of one answer at `LENGTHS`."""
    return np.asarray(paper_cost(model, policy, prompt_len=PROMPT_LEN, generated=LENGTHS, trials=1).total)


def paid_lengths(model: ModelSpec, policy: AttentionPolicy, cost: FloatArray) -> FloatArray:
    """Tokens of the one answer that each cost in 1e12 eFLOP pays for, up to the paper's cap."""
    return np.interp(cost, published_costs(model, policy), LENGTHS)


def dense_flop_of(model: ModelSpec, cost: float) -> float:
    """1e12 FLOP of the dense answer that a cost in 1e12 eFLOP pays for."""
    length = float(paid_lengths(model, Dense(), np.array([cost]))[0])
    return float(paper_cost(model, Dense(), prompt_len=PROMPT_LEN, generated=length, trials=1).compute)
