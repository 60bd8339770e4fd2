"""Models from disk or from the Hugging Face hub: safetensors files and `config.json`, nothing else.

Names and shapes of every tensor are checked from the file headers before the first one is read; then shards are
streamed one by one into tensors on the device. Pickled weights and code that comes with a model are never opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from kinetics.engine.decoder_spec import DecoderSpec
from kinetics.engine.families import read_config
from kinetics.engine.weights import LayerWeights, ModelWeights, empty_weights
from kinetics.files.json_text import parse_json
from kinetics.files.printable import one_line
from kinetics.specs.distribution import install_command
from kinetics.specs.models import ModelSpec

_MAX_LISTED = 8
_MAX_NAME = 128
_MAX_JSON_BYTES = 64 * 2**20
"""An index of a thousand layers with experts has a tenth of that."""
_INDEX = "model.safetensors.index.json"
_FLOATS = ("F64", "F32", "F16", "BF16")


def resolve_folder(source: str) -> Path:
    """The folder of a model: `source` itself if it is one, else the hub id's files, downloaded once.

    Raises: ValueError if there is no such folder and the hub does not answer.
    """
    folder = Path(source)
    if folder.is_dir():
        return folder
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError:
        raise ValueError(
            f"{source} is no folder, and the hub needs huggingface-hub; {install_command('engine')}"
        ) from None
    try:
        return Path(snapshot_download(source, allow_patterns=["*.safetensors", "*.json", "*.jinja"]))
    except Exception as error:  # the hub raises a dozen kinds, all of which mean that there is no model
        raise ValueError(
            f"model {source!r} is neither a folder nor a hub id that can be fetched ({error}); give a folder"
        ) from error


def read_spec(folder: Path, *, name: str = "") -> DecoderSpec:
    """The spec that `config.json` describes; stop tokens also from `generation_config.json`.

    `name`: what people call the model, the folder's if not given.

    Raises: ValueError if a file is missing or broken, or the model is one the engine does not know.
    """
    config = _read_json(folder / "config.json")
    generation = folder / "generation_config.json"
    if generation.exists():
        config = {**config, "eos_token_id": _read_json(generation).get("eos_token_id", config.get("eos_token_id"))}
    return read_config(config, name=name or folder.name)


def stores_bfloat16(folder: Path) -> bool:
    """Whether every matrix in the safetensors files of `folder` is bfloat16, so that multiplying in it rounds nothing.

    Raises: ValueError for a shard that is missing or cut short.
    """
    headers = _headers([_open(path) for path in _shard_paths(folder)], folder)
    return {dtype for shape, dtype in headers.values() if len(shape) > 1} == {"BF16"}


def load_weights(folder: Path, model: ModelSpec, *, device: torch.device | str, dtype: torch.dtype) -> ModelWeights:
    """The weights in the safetensors files of `folder`, converted to `dtype` on the device.

    Raises: ValueError naming every tensor that is missing, unexpected, of another shape or no floating-point one, a
    shard that is missing or cut short, or the memory that is not there.
    """
    shards = [_open(path) for path in _shard_paths(folder)]
    _check_tensors(shards, model, folder)
    try:
        weights = empty_weights(model, device=device, dtype=dtype)
    except RuntimeError as error:  # of the allocator; on a GPU a subclass
        raise ValueError(
            f"{folder}: {model.num_parameters} parameters must fit the memory of {device}, got: {str(error)[:120]}"
        ) from error
    targets = _targets(weights, model)
    for shard in shards:
        for name in shard.keys():  # noqa: SIM118 - a safetensors file is no mapping
            if name in targets:
                targets[name].copy_(shard.get_tensor(name))
    return weights


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ValueError(f"more than {_MAX_JSON_BYTES} bytes")
        read = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as JSON ({one_line(error)}); is this a model folder?") from None
    if not isinstance(read, dict):
        raise ValueError(f"{path}: must hold a JSON object, got {type(read).__name__}")
    return read


def _shard_paths(folder: Path) -> list[Path]:
    index = folder / _INDEX
    if index.exists():
        names = _indexed_shards(index)
        missing = [name for name in names if not (folder / name).exists()]
        if missing or not names:
            raise ValueError(f"{folder}: shards that {_INDEX} lists are missing: {_listed(missing)}; fetch them again")
        return [folder / name for name in names]
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise ValueError(f"{folder}: has no safetensors file; pickled weights are not read, convert them first")
    return paths


def _indexed_shards(index: Path) -> list[str]:
    """The file names in an index, which lie beside it and nowhere else."""
    weight_map = _read_json(index).get("weight_map", {})
    names = list(weight_map.values()) if isinstance(weight_map, dict) else [weight_map]
    strange = [name for name in names if not isinstance(name, str) or not _is_file_name(name)]
    if strange:
        raise ValueError(f"{index}: weight_map must name files of this folder, got {str(strange[0])[:40]!r}")
    return sorted(set(names))


def _is_file_name(name: str) -> bool:
    return Path(name).name == name and name not in ("", "..") and len(name) <= _MAX_NAME


def _open(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path}: is not a whole safetensors file ({one_line(error)}); was the copy cut short?"
        ) from None


def _targets(weights: ModelWeights, model: ModelSpec) -> dict[str, torch.Tensor]:
    """Where each tensor of a checkpoint goes: name to a view into the stacked weights."""
    targets = {"model.embed_tokens.weight": weights.embedding, "model.norm.weight": weights.final_norm}
    if not model.ties_embeddings:
        targets["lm_head.weight"] = weights.head
    for index, layer in enumerate(weights.layers):
        prefix = f"model.layers.{index}."
        own = {**_attention_targets(layer, model), **_mlp_targets(layer, model)}
        targets |= {prefix + name: view for name, view in own.items()}
    return targets


def _attention_targets(layer: LayerWeights, model: ModelSpec) -> dict[str, torch.Tensor]:
    targets = {
        "input_layernorm.weight": layer.input_norm,
        "post_attention_layernorm.weight": layer.mlp_norm,
        "self_attn.o_proj.weight": layer.output,
    }
    q_rows, kv_rows = model.num_q_heads * model.head_dim, model.num_kv_heads * model.head_dim
    stacked = [("weight", layer.qkv), ("bias", layer.qkv_bias)]
    for suffix, tensor in stacked:
        if tensor is not None:
            for name, view in zip("qkv", torch.split(tensor, [q_rows, kv_rows, kv_rows]), strict=True):
                targets[f"self_attn.{name}_proj.{suffix}"] = view
    for name, norm in (("q_norm", layer.q_norm), ("k_norm", layer.k_norm)):
        if norm is not None:
            targets[f"self_attn.{name}.weight"] = norm
    return targets


def _mlp_targets(layer: LayerWeights, model: ModelSpec) -> dict[str, torch.Tensor]:
    if layer.router is None:
        return _one_mlp_targets("mlp.", layer.gate_up, layer.down)
    targets = {"mlp.gate.weight": layer.router}
    for expert in range(model.num_experts):
        targets |= _one_mlp_targets(f"mlp.experts.{expert}.", layer.gate_up[expert], layer.down[expert])
    return targets


def _one_mlp_targets(prefix: str, gate_up: torch.Tensor, down: torch.Tensor) -> dict[str, torch.Tensor]:
    gate, up = gate_up.chunk(2)
    return {f"{prefix}gate_proj.weight": gate, f"{prefix}up_proj.weight": up, f"{prefix}down_proj.weight": down}


def _check_tensors(shards: list[Any], model: ModelSpec, folder: Path) -> None:
    """Hold what the headers say against what the model needs, before memory is taken for either."""
    found = _headers(shards, folder)
    wanted = _wanted_shapes(model, folder, num_found=len(found))
    if model.ties_embeddings:
        found.pop("lm_head.weight", None)  # some files store the tied table twice
    shapes = {name: shape for name, (shape, _) in found.items()}
    misshapen = [
        f"{name} {list(shape)} (expected {list(wanted[name])})"
        for name, shape in shapes.items()
        if shape != wanted.get(name, shape)
    ]
    for rule, names in (
        ("are missing", sorted(wanted.keys() - shapes.keys())),
        ("are unexpected", sorted(shapes.keys() - wanted.keys())),
        ("have another shape", misshapen),
    ):
        if names:
            raise ValueError(
                f"{folder}: {len(names)} tensors of {model.name} {rule}: {_listed(names)}; "
                "is config.json the one of these weights?"
            )
    if packed := [f"{name} {dtype}" for name, (_, dtype) in found.items() if dtype not in _FLOATS]:
        raise ValueError(
            f"{folder}: tensors must be {', '.join(_FLOATS)}, got {_listed(packed)}; quantised weights are not read"
        )


def _wanted_shapes(model: ModelSpec, folder: Path, *, num_found: int) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a model, by name; not built for more layers than the files can have."""
    least = model.num_layers * max(1, model.num_experts)
    if least > num_found:
        raise ValueError(
            f"{folder}: {model.name} must have a tensor for each of its {least} layers or experts, got {num_found}; "
            "is config.json the one of these weights?"
        )
    try:
        weights = empty_weights(model, device="meta", dtype=torch.float32)
    except RuntimeError as error:  # a size that no memory has
        raise ValueError(f"{folder}: the shapes of {model.name} must be possible, got: {str(error)[:120]}") from None
    return {name: tuple(tensor.shape) for name, tensor in _targets(weights, model).items()}


def _headers(shards: list[Any], folder: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of every tensor, by name."""
    found: dict[str, tuple[tuple[int, ...], str]] = {}
    for shard in shards:
        for name in shard.keys():  # noqa: SIM118 - a safetensors file is no mapping
            if name in found:
                raise ValueError(f"{folder}: tensors must be stored once, got {name[:80]!r} in two files")
            piece = shard.get_slice(name)
            found[name] = (tuple(piece.get_shape()), str(piece.get_dtype()))
    return found


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_MAX_LISTED])
    return f"{shown} and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else shown
