"""Models from disk or from the Hugging Face hub: safetensors files and `config.json`, nothing else.

Names and shapes of every tensor are checked from the file headers before the first one is read; then shards are
streamed one by one into tensors on the device. Pickled weights and code that comes with a model are never opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from kinetics.distribution import install_command
from kinetics.engine.decoder_spec import DecoderSpec
from kinetics.engine.families import read_config
from kinetics.engine.weights import LayerWeights, ModelWeights, empty_weights
from kinetics.files.json_text import parse_json
from kinetics.specs.models import ModelSpec

_MAX_LISTED = 8
_MAX_JSON_BYTES = 64 * 2**20
"""An index of a thousand layers with experts has a tenth of that."""
_INDEX = "model.safetensors.index.json"


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


def load_weights(folder: Path, model: ModelSpec, *, device: torch.device | str, dtype: torch.dtype) -> ModelWeights:
    """The weights in the safetensors files of `folder`, converted to `dtype` on the device.

    Raises: ValueError naming every tensor that is missing, unexpected or of another shape, or a shard that is
    missing or cut short.
    """
    shards = [_open(path) for path in _shard_paths(folder)]
    weights = empty_weights(model, device=device, dtype=dtype)
    targets = _targets(weights, model)
    _check_names(shards, targets, model, folder)
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
        raise ValueError(f"{path}: cannot be read as JSON ({error}); is this a model folder?") from None
    if not isinstance(read, dict):
        raise ValueError(f"{path}: must hold a JSON object, got {type(read).__name__}")
    return read


def _shard_paths(folder: Path) -> list[Path]:
    index = folder / _INDEX
    if index.exists():
        names = sorted(set(_read_json(index).get("weight_map", {}).values()))
        missing = [name for name in names if not (folder / name).exists()]
        if missing or not names:
            raise ValueError(f"{folder}: shards that {_INDEX} lists are missing: {_listed(missing)}; fetch them again")
        return [folder / name for name in names]
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise ValueError(f"{folder}: has no safetensors file; pickled weights are not read, convert them first")
    return paths


def _open(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: is not a whole safetensors file ({error}); was the copy cut short?") from None


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


def _check_names(shards: list[Any], targets: Mapping[str, torch.Tensor], model: ModelSpec, folder: Path) -> None:
    found = {name: tuple(shard.get_slice(name).get_shape()) for shard in shards for name in shard.keys()}  # noqa: SIM118
    if model.ties_embeddings:
        found.pop("lm_head.weight", None)  # some files store the tied table twice
    missing = sorted(targets.keys() - found.keys())
    unexpected = sorted(found.keys() - targets.keys())
    misshapen = [
        f"{name} {list(shape)} (expected {list(targets[name].shape)})"
        for name, shape in found.items()
        if name in targets and shape != tuple(targets[name].shape)
    ]
    for rule, names in (("are missing", missing), ("are unexpected", unexpected), ("have another shape", misshapen)):
        if names:
            raise ValueError(
                f"{folder}: {len(names)} tensors of {model.name} {rule}: {_listed(names)}; "
                "is config.json the one of these weights?"
            )


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_MAX_LISTED])
    return f"{shown} and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else shown
