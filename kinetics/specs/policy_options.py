"""Attention policies as people ask for them: which options each needs and which it may take."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum

from kinetics.specs.policies import AttentionPolicy, BlockSummary, BlockTopK, Dense, Local, PolicyKind, TopK


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyOptions:
    """Policy options as typed; 0 and None mean not given."""

    kv_budget: int = 0
    num_local: int = 0
    block_size: int = 0
    top_blocks: int = 0
    num_sink_tokens: int = 0
    keeps_partial_block: bool = False
    summary: BlockSummary | None = None


# Which options each kind needs, and which it may take besides.
_NEEDED: dict[PolicyKind, tuple[str, ...]] = {
    PolicyKind.DENSE: (),
    PolicyKind.TOPK: ("kv_budget",),
    PolicyKind.BLOCK_TOPK: ("block_size",),
    PolicyKind.LOCAL: ("num_local",),
}


_ALLOWED: dict[PolicyKind, tuple[str, ...]] = {
    PolicyKind.DENSE: (),
    PolicyKind.TOPK: ("num_sink_tokens",),
    PolicyKind.BLOCK_TOPK: (
        "kv_budget",
        "num_local",
        "top_blocks",
        "num_sink_tokens",
        "keeps_partial_block",
        "summary",
    ),
    PolicyKind.LOCAL: ("num_sink_tokens",),
}


_FLAGS = {
    "kv_budget": "--kv-budget",
    "num_local": "--local",
    "block_size": "--block-size",
    "top_blocks": "--top-blocks",
    "num_sink_tokens": "--sink-tokens",
    "keeps_partial_block": "--partial-block",
    "summary": "--summary",
}


def build_policy(kind: PolicyKind, given: PolicyOptions) -> AttentionPolicy:
    """The policy that options describe.

    Raises: ValueError naming an option that the kind needs, does not know, or that contradicts another.
    """
    for name in _NEEDED[kind]:
        if not getattr(given, name):
            raise ValueError(f"{_FLAGS[name]} must be given for {kind.value} attention, got none")
    for name, value in asdict(given).items():
        if value and name not in _NEEDED[kind] + _ALLOWED[kind]:
            said = value.value if isinstance(value, Enum) else value
            raise ValueError(f"{_FLAGS[name]} means nothing to {kind.value} attention, got {said}; leave it out")
    match kind:
        case PolicyKind.DENSE:
            return Dense()
        case PolicyKind.TOPK:
            return TopK(kv_budget=given.kv_budget, num_sink_tokens=given.num_sink_tokens)
        case PolicyKind.LOCAL:
            return Local(num_local=given.num_local, num_sink_tokens=given.num_sink_tokens)
        case PolicyKind.BLOCK_TOPK:
            return BlockTopK(
                block_size=given.block_size,
                top_blocks=_num_top_blocks(given),
                num_local=given.num_local,
                num_sink_tokens=given.num_sink_tokens,
                keeps_partial_block=given.keeps_partial_block,
                summary=given.summary or BlockSummary.MEAN,
            )


def _num_top_blocks(given: PolicyOptions) -> int:
    """--top-blocks, or as many blocks as --kv-budget leaves room for; both only if they agree."""
    if not given.kv_budget:
        if not given.top_blocks:
            raise ValueError("--top-blocks or --kv-budget must be given for block_topk attention, got neither")
        return given.top_blocks
    blocks, rest = divmod(given.kv_budget - given.num_local, given.block_size)
    if rest or blocks < 1 or (given.top_blocks and given.top_blocks != blocks):
        raise ValueError(
            f"--kv-budget must be --local + --block-size x --top-blocks, got {given.kv_budget} with local "
            f"{given.num_local}, block size {given.block_size} and {given.top_blocks or 'no'} top blocks; drop one"
        )
    return blocks
