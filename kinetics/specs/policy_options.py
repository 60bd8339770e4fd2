"""Attention policies as people ask for them and spell them: the options each needs or may take, and its label."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any, Final

from kinetics.specs.policies import (
    AttentionPolicy,
    BlockSummary,
    BlockTopK,
    Dense,
    Local,
    PolicyKind,
    TopK,
)

POLICIES: Final[Mapping[str, Any]] = {policy.kind.value: policy for policy in (Dense, TopK, BlockTopK, Local)}
POLICY_FIELDS: Final = frozenset(
    {"kv_budget", "num_sink_tokens", "num_local", "block_size", "top_blocks", "keeps_partial_block", "summary"}
)
"""All that any policy is made of, as headers of logs spell it."""
_NUMBERS: Final = re.compile(r"([a-z]+)(\d+)")
_LABEL: Final = re.compile(
    r"(?P<keys>[a-z]+\d*(?:_[a-z]+\d+)*?)(?P<bound>_minmax)?(?P<partial>_partial)?(?:_sink(?P<sink>\d+))?"
    r"(?:_dense(?P<dense>\d+))?"
)


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


def parse_policy(label: str) -> AttentionPolicy:
    """The policy that a label such as `dense`, `topk256` or `block128_blocktopk1_partial_sink16` names.

    Raises: ValueError for any other label, and for one that names dense layers.
    """
    policy, num_dense_layers = parse_attention(label)
    if num_dense_layers:
        raise ValueError(f"policy must be the same in every layer here, got {label[:60]!r}; leave _dense out")
    return policy


def parse_attention(label: str) -> tuple[AttentionPolicy, int]:
    """The policy and the number of dense layers that a label names, as `policy_label` spelled them.

    Raises: ValueError for any other label.
    """
    found = _LABEL.fullmatch(label)
    policy = policy_named(found["keys"]) if found else None
    if found is None or policy is None or (isinstance(policy, Dense) and label != "dense"):
        raise _not_a_policy(label)
    if isinstance(policy, BlockTopK):
        summary = BlockSummary.MIN_MAX if found["bound"] else BlockSummary.MEAN
        policy = replace(policy, summary=summary, keeps_partial_block=bool(found["partial"]))
    elif found["bound"] or found["partial"]:
        raise _not_a_policy(label)
    if not isinstance(policy, Dense):
        policy = replace(policy, num_sink_tokens=int(found["sink"] or 0))
    return policy, int(found["dense"] or 0)


def _not_a_policy(label: str) -> ValueError:
    return ValueError(
        f"policy must read dense, topk256, local64 or block128_blocktopk1, then _minmax, _partial, _sink16 where they "
        f"hold, got {label[:60]!r}"
    )


def policy_named(label: str) -> AttentionPolicy | None:
    """The policy of the numbers of keys and blocks in a label, nothing else being kept; None for any other text."""
    if label == "dense":
        return Dense()
    if not re.fullmatch(r"[a-z]+\d+(_[a-z]+\d+)*", label):
        return None
    numbers = {key: int(value) for key, value in _NUMBERS.findall(label)}
    if not set(numbers) <= {"local", "topk", "block", "blocktopk"}:
        return None
    return sparse_policy(
        local=numbers.get("local", 0),
        topk=numbers.get("topk", 0),
        block_size=numbers.get("block", 0),
        block_topk=numbers.get("blocktopk", 0),
    )


def sparse_policy(*, local: int, topk: int, block_size: int, block_topk: int) -> AttentionPolicy | None:
    """The last `local` tokens count towards a top-k budget, as in the published cost scripts."""
    if block_size and block_topk:
        return BlockTopK(block_size=block_size, top_blocks=block_topk, num_local=local)
    if topk:
        return TopK(kv_budget=local + topk)
    return Local(num_local=local) if local else None
