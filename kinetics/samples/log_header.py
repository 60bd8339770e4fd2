"""What a trace file is of: model, data set, attention policy; from its metadata line, else from its name.

Three writers left such files. `kinetics generate` writes every setting and the model's shape. The paper's scripts put
`attn_*` keys in the first line; LiteSys puts a summary there that says nothing of attention, and a reader that trusts
it takes every sparse file for a dense one.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from kinetics.files.checked import checked, checked_exactly
from kinetics.files.lines import DataFileError
from kinetics.samples.counts import MAX_COUNT, count, shortened
from kinetics.samples.log_writer import LOG_SCHEMA
from kinetics.specs.ceilings import Ceilings
from kinetics.specs.dtypes import element_bytes
from kinetics.specs.models import ModelSpec, find_model
from kinetics.specs.policies import AttentionPolicy, Dense, policy_label
from kinetics.specs.policy_options import POLICIES, POLICY_FIELDS, policy_named, sparse_policy

_NAME: Final = re.compile(
    r"(?P<task>[^_]+)_(?P<model>[^_]+)_(?P<policy>dense|local\d+(?:_topk\d+|_block\d+_blocktopk\d+)?)(?:_.*)?"
)
_ATTENTION_KEYS: Final = ("attn_local", "attn_topk", "attn_block_size", "attn_block_topk")


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceHeader:
    """Model, data set and policy of a file; `num_dense_layers` as the metadata says, else 0.

    `spec`: the model's shape, where the file gives it. `max_new_tokens`: the cap of an answer, 0 if not given.
    `engine` and `machine`: what generated the samples, where the file says so. `imported_from`: the form of another
    program, which says nothing of attention: dense is assumed unless the file's name tells it. `is_own`: of a log of
    `kinetics generate`.
    """

    model: str
    dataset: str
    policy: AttentionPolicy
    num_dense_layers: int
    spec: ModelSpec | None = None
    max_new_tokens: int = 0
    engine: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    imported_from: str = ""
    is_attention_assumed: bool = False
    is_own: bool = False


def read_header(path: Path, metadata: Mapping[str, Any] | None) -> TraceHeader:
    """The header of a trace file, given its first line if that is not a sample.

    Raises: DataFileError if model or attention are not named, or metadata and file name contradict each other.
    """
    facts = dict(metadata or {})
    _check_text(path, facts)
    if "kinetics_log" in facts:
        return _own_header(path, facts)
    named = _NAME.fullmatch(Path(path.name.removesuffix(".gz")).stem)
    imported_from = str(facts.get("imported_from", ""))
    from_metadata = _policy_from_numbers(path, facts) if any(key in facts for key in _ATTENTION_KEYS) else None
    from_name = policy_named(named.group("policy")) if named else None
    policy = from_metadata or from_name
    is_attention_assumed = policy is None and bool(imported_from)
    if is_attention_assumed:
        policy = Dense()
    if policy is None:
        raise DataFileError(
            f"{path}:1: attention must be named by attn_* keys of a metadata line or by the file name, got neither; "
            f"name the file like aime24_qwen3-8b_local0_topk256.jsonl"
        )
    if from_metadata and from_name and from_metadata != from_name:
        raise DataFileError(
            f"{path}:1: metadata and file name must agree, got {policy_label(from_metadata)} and "
            f"{policy_label(from_name)}; rename the file or mend its first line"
        )
    name = facts.get("model") or (named.group("model") if named else None)
    if imported_from and named:
        name = named.group("model")
    if not isinstance(name, str):
        raise DataFileError(f"{path}:1: model must be named by the file name or a metadata key `model`, got neither")
    skipped = facts.get("attn_layer_skip")
    return TraceHeader(
        model=_known_name(name),
        dataset=str(facts.get("task") or (named.group("task") if named else "unknown")),
        policy=policy,
        num_dense_layers=len(skipped) if isinstance(skipped, list) else 0,
        imported_from=imported_from,
        is_attention_assumed=is_attention_assumed,
    )


def _check_text(path: Path, facts: Mapping[str, Any]) -> None:
    """A header's names become those of rows, curves and files.

    Raises: DataFileError if one cannot be written.
    """
    try:
        json.dumps(facts, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        raise DataFileError(f"{path}:1: header must be text, got half a surrogate pair in it") from None


def _known_name(name: str) -> str:
    """As the suite spells a model that it knows; others keep their name, and whoever prices them looks for them."""
    try:
        return find_model(name).name
    except ValueError:
        return name


def _own_header(path: Path, facts: Mapping[str, Any]) -> TraceHeader:
    """The header that `kinetics generate` wrote."""
    try:
        _check_schema(facts["kinetics_log"])
        found = checked(facts, _OwnHeader)
        spec = _own_spec(found.model_spec) if found.model_spec else None
        return TraceHeader(
            model=found.model,
            dataset=found.task,
            policy=_own_policy(found.attention),
            num_dense_layers=_own_dense_layers(found.attention, spec),
            spec=spec,
            max_new_tokens=_positive(found.max_new_tokens, "max_new_tokens"),
            engine=_own_engine(found.engine),
            machine=_own_machine(found.machine),
            is_own=True,
        )
    except ValueError as error:
        raise DataFileError(
            f"{path}:1: header must be one that kinetics generate wrote, got a bad one: {error}"
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _OwnHeader:
    model: str
    task: str
    attention: dict[str, Any]
    model_spec: dict[str, Any] | None
    max_new_tokens: int
    engine: dict[str, Any]
    machine: dict[str, Any]


def _own_policy(attention: Mapping[str, Any]) -> AttentionPolicy:
    kind = str(attention.get("kind"))
    if kind not in POLICIES:
        raise ValueError(f"attention.kind must be one of {', '.join(POLICIES)}, got {kind[:40]!r}")
    for key in POLICY_FIELDS & attention.keys():
        if key not in ("summary", "keeps_partial_block"):
            count(attention[key], f"attention.{key}")
    policy: AttentionPolicy = checked(
        {key: value for key, value in attention.items() if key in POLICY_FIELDS}, POLICIES[kind]
    )
    return policy


def _check_schema(schema: Any) -> None:
    if type(schema) is not int or schema != LOG_SCHEMA:
        raise ValueError(f"kinetics_log must be {LOG_SCHEMA}, got {shortened(schema)}; another version wrote it")


def _positive(value: Any, name: str) -> int:
    if count(value, name) < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return int(value)


def _own_dense_layers(attention: Mapping[str, Any], spec: ModelSpec | None) -> int:
    num_dense = count(attention.get("num_dense_layers", 0), "attention.num_dense_layers")
    if spec is not None and num_dense > spec.num_layers:
        raise ValueError(f"attention.num_dense_layers must be at most the {spec.num_layers} layers, got {num_dense}")
    return num_dense


def _own_spec(shape: Mapping[str, Any]) -> ModelSpec:
    for key, value in shape.items():
        if isinstance(value, int) and not isinstance(value, bool):
            count(value, f"model_spec.{key}")
    return checked_exactly(shape, ModelSpec)


def _own_engine(engine: dict[str, Any]) -> dict[str, Any]:
    """Of an engine, what its times are priced by; a server tells its batch alone."""
    for key in ("batch", *({"page_size"} & engine.keys())):
        _positive(engine.get(key), f"engine.{key}")
    for key in {"dtype", "kv_dtype"} & engine.keys():
        element_bytes(str(engine[key]))
    return engine


def _own_machine(machine: dict[str, Any]) -> dict[str, Any]:
    if machine.get("ceilings") is not None:
        ceilings = asdict(checked_exactly(machine["ceilings"], Ceilings))
        bad = [name for name, value in ceilings.items() if not 0 < value < MAX_COUNT**2]
        if bad:
            raise ValueError(f"machine.ceilings.{bad[0]} must be a positive number, got {ceilings[bad[0]]}")
    return machine


def _policy_from_numbers(path: Path, facts: Mapping[str, Any]) -> AttentionPolicy:
    """As the published scripts read it: no `attn_local` means dense."""
    if facts.get("attn_local") is None:
        return Dense()
    values = {}
    for key in _ATTENTION_KEYS:
        try:
            values[key] = 0 if facts.get(key) is None else count(facts[key], key)
        except ValueError as error:
            raise DataFileError(f"{path}:1: {error}") from None
    policy = sparse_policy(
        local=values["attn_local"],
        topk=values["attn_topk"],
        block_size=values["attn_block_size"],
        block_topk=values["attn_block_topk"],
    )
    if policy is None:
        raise DataFileError(f"{path}:1: attention must keep at least one key, got {values}")
    return policy
