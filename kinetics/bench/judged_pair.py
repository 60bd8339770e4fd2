"""Whether one case is slower than another of its cell, from the rounds in which both were timed.

Rounds of one process are no launches: where memory happened to lie is in all of them. What this tells apart is two
kernels, or two settings of one, whose difference is larger than that; `kinetics gate` tells two revisions apart.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from kinetics.gate.decision import Decision, decide

NUM_BLOCKS: Final = 5
"""Blocks of consecutive rounds that make a look; two looks must agree."""


def judge_pair(candidate_s: Sequence[float], base_s: Sequence[float], *, margin: float) -> Decision:
    """The gate's verdict on the candidate against the base; samples of one place are of one round.

    Raises: ValueError with fewer rounds than blocks, or unequal numbers of them.
    """
    if len(candidate_s) != len(base_s) or len(base_s) < 2 * NUM_BLOCKS:
        raise ValueError(
            f"both cases must have the same rounds, at least {2 * NUM_BLOCKS}, got {len(candidate_s)} and {len(base_s)}"
        )
    ratios = [math.log(candidate / base) for candidate, base in zip(candidate_s, base_s, strict=True)]
    edges = [round(block * len(ratios) / (2 * NUM_BLOCKS)) for block in range(2 * NUM_BLOCKS + 1)]
    blocks = [statistics.median(ratios[start:end]) for start, end in pairwise(edges)]
    return decide(blocks[::2], blocks[1::2], margin=margin)
