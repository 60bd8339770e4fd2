"""Families of attention policies that share a curve."""

from __future__ import annotations

from enum import Enum

from kinetics.specs.policies import AttentionPolicy, BlockTopK, Dense, Local


class Family(Enum):
    """Attention policies that share a curve: the best KV budget of the family is part of the allocation."""

    DENSE = "dense"
    TOPK = "topk"
    BLOCK_TOPK = "block_topk"
    LOCAL = "local"


def family_of(policy: AttentionPolicy) -> Family:
    """The family a policy belongs to."""
    match policy:
        case Dense():
            return Family.DENSE
        case BlockTopK():
            return Family.BLOCK_TOPK
        case Local():
            return Family.LOCAL
        case _:
            return Family.TOPK
