"""What a trace file is of: model, data set, attention policy; from its metadata line, else from its name.

Two writers left such files. The paper's scripts put `attn_*` keys in the first line; LiteSys puts a summary there
that says nothing of attention, and a reader that trusts it takes every sparse file for a dense one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kinetics.attention_policy import AttentionPolicy, BlockTopK, Dense, Local, TopK, policy_label
from kinetics.data_files import DataFileError
from kinetics.model_specs import find_model

_NAME: Final = re.compile(
    r"(?P<task>[^_]+)_(?P<model>[^_]+)_(?P<policy>dense|local\d+(?:_topk\d+|_block\d+_blocktopk\d+)?)(?:_.*)?"
)
_NUMBERS: Final = re.compile(r"([a-z]+)(\d+)")
_ATTENTION_KEYS: Final = ("attn_local", "attn_topk", "attn_block_size", "attn_block_topk")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceHeader:
    """Model, data set and policy of a file; `num_dense_layers` as far as the metadata tells, else 0."""

    model: str
    dataset: str
    policy: AttentionPolicy
    num_dense_layers: int


def read_header(path: Path, metadata: Mapping[str, Any] | None) -> TraceHeader:
    """The header of a trace file, given its first line if that is not a sample.

    Raises: DataFileError if model or attention cannot be told, or metadata and file name contradict each other.
    """
    named = _NAME.fullmatch(path.name.removesuffix(".jsonl"))
    facts = dict(metadata or {})
    from_metadata = _policy_from_numbers(path, facts) if any(key in facts for key in _ATTENTION_KEYS) else None
    from_name = _policy_from_name(named.group("policy")) if named else None
    policy = from_metadata or from_name
    if policy is None:
        raise DataFileError(
            f"{path}:1: attention must be told by attn_* keys of a metadata line or by the file name, got neither; "
            f"name the file like aime24_qwen3-8b_local0_topk256.jsonl"
        )
    if from_metadata and from_name and from_metadata != from_name:
        raise DataFileError(
            f"{path}:1: metadata and file name must agree, got {policy_label(from_metadata)} and "
            f"{policy_label(from_name)}; rename the file or mend its first line"
        )
    name = facts.get("model") or (named.group("model") if named else None)
    if not isinstance(name, str):
        raise DataFileError(f"{path}:1: model must be told by the file name or a metadata key `model`, got neither")
    try:
        model = find_model(name).name
    except ValueError as error:
        raise DataFileError(f"{path}:1: {error}") from error
    skipped = facts.get("attn_layer_skip")
    return TraceHeader(
        model=model,
        dataset=str(facts.get("task") or (named.group("task") if named else "unknown")),
        policy=policy,
        num_dense_layers=len(skipped) if isinstance(skipped, list) else 0,
    )


def parse_policy(label: str) -> AttentionPolicy:
    """The policy that a label such as `dense`, `topk256` or `block128_blocktopk1` names.

    Raises: ValueError for any other label.
    """
    policy = _policy_from_name(label)
    if policy is None:
        raise ValueError(f"policy must read dense, topk256, local64 or block128_blocktopk1, got {label[:60]!r}")
    return policy


def _policy_from_name(label: str) -> AttentionPolicy | None:
    if label == "dense":
        return Dense()
    if not re.fullmatch(r"[a-z]+\d+(_[a-z]+\d+)*", label):
        return None
    numbers = {key: int(value) for key, value in _NUMBERS.findall(label)}
    if not set(numbers) <= {"local", "topk", "block", "blocktopk"}:
        return None
    return _sparse_policy(
        local=numbers.get("local", 0),
        topk=numbers.get("topk", 0),
        block_size=numbers.get("block", 0),
        block_topk=numbers.get("blocktopk", 0),
    )


def _policy_from_numbers(path: Path, facts: Mapping[str, Any]) -> AttentionPolicy:
    """As the published scripts read it: no `attn_local` means dense."""
    if facts.get("attn_local") is None:
        return Dense()
    values = {}
    for key in _ATTENTION_KEYS:
        value = facts.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise DataFileError(f"{path}:1: {key} must be a count, got {str(value)[:40]!r}")
        values[key] = value or 0
    policy = _sparse_policy(
        local=values["attn_local"],
        topk=values["attn_topk"],
        block_size=values["attn_block_size"],
        block_topk=values["attn_block_topk"],
    )
    if policy is None:
        raise DataFileError(f"{path}:1: attention must keep at least one key, got {values}")
    return policy


def _sparse_policy(*, local: int, topk: int, block_size: int, block_topk: int) -> AttentionPolicy | None:
    """The last `local` tokens count towards a top-k budget, as in the published cost scripts."""
    if block_size and block_topk:
        return BlockTopK(block_size=block_size, top_blocks=block_topk, num_local=local)
    if topk:
        return TopK(kv_budget=local + topk)
    return Local(num_local=local) if local else None
