"""Weights come from safetensors alone, every tensor accounted for before one is read."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from kinetics.engine import checkpoint
from kinetics.engine.checkpoint import load_weights, read_spec, resolve_folder, stores_bfloat16
from kinetics.engine.weights import random_weights
from kinetics.specs.models import find_model

safetensors = pytest.importorskip("safetensors.torch")


@pytest.fixture
def folder(load_model, tmp_path):
    return shutil.copytree(load_model("qwen3").folder, tmp_path / "model")


def rewrite(folder, change):
    """Apply `change` to the tensors, all in one shard."""
    tensors = {}
    for path in folder.glob("*.safetensors"):
        tensors |= safetensors.load_file(path)
        path.unlink()
    (folder / "model.safetensors.index.json").unlink(missing_ok=True)
    change(tensors)
    safetensors.save_file(tensors, folder / "model.safetensors")


def load(folder):
    return load_weights(folder, read_spec(folder).model, device="cpu", dtype=torch.float32)


def test_every_parameter_is_loaded_once(folder, load_model):
    weights = load(folder)
    assert sum(tensor.numel() for tensor in weights.tensors()) == read_spec(folder).model.num_parameters
    assert torch.equal(weights.layers[1].down, load_model("qwen3").theirs.model.layers[1].mlp.down_proj.weight)


def test_weights_are_bfloat16_if_every_matrix_is_whatever_the_norms_are(folder):
    assert not stores_bfloat16(folder)
    rewrite(folder, lambda tensors: tensors.update({n: t.bfloat16() for n, t in tensors.items() if t.dim() > 1}))
    assert stores_bfloat16(folder)
    rewrite(
        folder,
        lambda tensors: tensors.update({"model.embed_tokens.weight": tensors["model.embed_tokens.weight"].float()}),
    )
    assert not stores_bfloat16(folder)


def test_missing_tensors_are_listed(folder):
    names = ["model.layers.0.self_attn.q_norm.weight", "model.layers.2.mlp.up_proj.weight"]
    rewrite(folder, lambda tensors: [tensors.pop(name) for name in names])
    with pytest.raises(ValueError, match=r"2 tensors of model are missing: .*q_norm.*up_proj"):
        load(folder)


def test_a_misshapen_tensor_is_named_with_both_shapes(folder):
    rewrite(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(64)}))
    with pytest.raises(ValueError, match=r"model.norm.weight \[64\] \(expected \[128\]\)"):
        load(folder)


def test_an_unexpected_tensor_is_refused(folder):
    rewrite(folder, lambda tensors: tensors.update({"model.layers.0.self_attn.q_proj.bias": torch.ones(256)}))
    with pytest.raises(ValueError, match=r"unexpected: model.layers.0.self_attn.q_proj.bias"):
        load(folder)


def test_a_stored_copy_of_the_tied_head_is_accepted(folder):
    rewrite(folder, lambda tensors: tensors.update({"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}))
    weights = load(folder)
    assert weights.head is weights.embedding


def test_a_truncated_shard_is_named(folder):
    shard = sorted(folder.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(ValueError, match=rf"{shard.name}: is not a whole safetensors file"):
        load(folder)


def test_a_missing_shard_is_named(folder):
    shard = sorted(folder.glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(ValueError, match=f"missing: {shard.name}"):
        load(folder)


def never(*_args, **_kwargs):
    raise AssertionError("memory was taken")


def test_shapes_are_compared_before_memory_is_taken(folder, monkeypatch):
    rewrite(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(64)}))
    real = checkpoint.empty_weights
    only_meta = lambda *args, device, dtype: real(*args, device=device, dtype=dtype) if device == "meta" else never()  # noqa: E731
    monkeypatch.setattr(checkpoint, "empty_weights", only_meta)
    with pytest.raises(ValueError, match="another shape"):
        load(folder)


@pytest.mark.parametrize("size", [2**31, 2**62])
def test_a_config_of_a_giant_is_refused_by_the_shapes_in_the_files(folder, size):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": size}))
    with pytest.raises(ValueError, match=r"another shape|must be possible|intermediate_size"):
        load(folder)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.float8_e4m3fn])
def test_tensors_of_integers_are_refused(folder, dtype):
    rewrite(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(128).to(dtype)}))
    with pytest.raises(
        ValueError, match=r"tensors must be F64, F32, F16, BF16, got model\.norm\.weight \w+; quantised"
    ):
        load(folder)


def test_a_tensor_in_two_shards_is_refused(folder):
    shards = sorted(folder.glob("*.safetensors"))
    shutil.copy(shards[0], folder / "copy.safetensors")
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(ValueError, match=r"tensors must be stored once, got '.*' in two files"):
        load(folder)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "a/b.safetensors", "", ".", "..", 5, None])
def test_an_index_names_files_of_its_folder_alone(folder, name):
    index = folder / "model.safetensors.index.json"
    shutil.copy(next(folder.glob("*.safetensors")), folder.parent / "other.safetensors")
    document = json.loads(index.read_text())
    document["weight_map"]["model.norm.weight"] = name
    index.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="weight_map must name files of this folder, got"):
        load(folder)


def test_pickled_weights_are_not_opened(folder):
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(ValueError, match="no safetensors file; pickled weights are not read"):
        load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gemma3"}, "model_type of model must be one of"),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
            "rope type of model must be 'default', got 'yarn'",
        ),
        ({"use_sliding_window": True}, "use_sliding_window"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"num_attention_heads": None}, "num_attention_heads"),
        ({"max_position_embeddings": 0}, "max_position_embeddings"),
        ({"max_position_embeddings": 10**400}, "max_position_embeddings"),
        ({"vocab_size": 10**400}, "vocab_size of model must be at most"),
        ({"rms_norm_eps": 10**400}, "rms_norm_eps in the config of model must be a positive number"),
        ({"rms_norm_eps": None}, "rms_norm_eps"),
        ({"rope_parameters": [1]}, "rope_parameters in the config of model must be an object"),
        ({"rope_parameters": {"rope_theta": -1}}, "rope_theta"),
        ({"eos_token_id": [True]}, "eos_token_id"),
        ({"head_dim": 63}, "head_dim of model must be even, got 63"),
        ({"model_type": ["qwen3"]}, "model_type of model must be one of llama, qwen2, qwen3, qwen3_moe for the engine"),
    ],
)
def test_a_config_the_engine_does_not_compute_is_refused(folder, change, message):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ValueError, match=message):
        read_spec(folder)


def test_stop_tokens_come_from_the_generation_config(folder):
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [3, 5]}))
    assert read_spec(folder).eos_token_ids == (3, 5)


def test_a_broken_config_names_its_file(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json: cannot be read as JSON"):
        read_spec(folder)


def test_a_source_that_is_no_folder_and_no_hub_id_is_one_clear_error(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match=r"neither a folder nor a hub id that can be fetched|the hub needs"):
        resolve_folder("no-such-owner/no-such-model")


def test_random_weights_have_the_parameters_of_the_spec():
    model = find_model("Qwen3-0.6B")
    one_layer = type(model)(**{f: getattr(model, f) for f in model.__slots__} | {"num_layers": 1, "vocab_size": 1000})
    weights = random_weights(one_layer, device="cpu", dtype=torch.float32, seed=0)
    assert sum(tensor.numel() for tensor in weights.tensors()) == one_layer.num_parameters
    assert weights.head is weights.embedding
    assert weights.layers[0].qkv.std().item() == pytest.approx(1024**-0.5, rel=0.01)
