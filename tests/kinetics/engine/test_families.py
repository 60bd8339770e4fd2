"""A family of models is one file: found where it lies, its settings believed only where the engine computes them."""

from __future__ import annotations

import sys

import pytest

from kinetics.engine import families
from kinetics.engine.families import read_config
from kinetics.specs.models import ModelSpec

CONFIG = {
    "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64,
    "intermediate_size": 32, "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2, "vocab_size": 50,
    "rms_norm_eps": 3e-5, "max_position_embeddings": 77, "rope_theta": 123.0, "eos_token_id": [2, 3],
}  # fmt: skip
FAMILIES = ("llama", "qwen2", "qwen3", "qwen3_moe")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_setting_of_a_config_reaches_the_spec(family):
    config = CONFIG | {"model_type": family, "norm_topk_prob": True}
    spec = read_config(config, name="made")
    assert spec.model == ModelSpec.from_config(config, name="made")
    assert (spec.norm_epsilon, spec.rope_theta, spec.max_position, spec.eos_token_ids) == (3e-5, 123.0, 77, (2, 3))
    assert spec.normalizes_expert_weights == (family == "qwen3_moe")


@pytest.mark.parametrize("said", [False, None])
def test_expert_weights_are_scaled_to_one_only_if_the_config_says_so(said):
    config = CONFIG | {"model_type": "qwen3_moe"} | ({} if said is None else {"norm_topk_prob": said})
    assert not read_config(config, name="made").normalizes_expert_weights


@pytest.mark.parametrize("family", FAMILIES[1:])
def test_stretched_positions_are_refused_by_families_that_were_not_trained_with_them(family):
    config = CONFIG | {"model_type": family, "rope_scaling": {"rope_type": "llama3"}}
    with pytest.raises(ValueError, match="rope type of made must be 'default', got 'llama3'"):
        read_config(config, name="made")


def test_a_file_in_the_folder_is_a_family(monkeypatch, tmp_path):
    (tmp_path / "made_up.py").write_text(
        "from kinetics.engine.config_fields import decoder_spec\n"
        "MODEL_TYPE = 'made_up'\n"
        "def read(config, *, name):\n"
        "    return decoder_spec({**config, 'model_type': 'qwen3'}, name=name)\n"
    )
    config = CONFIG | {"model_type": "made_up"}
    with pytest.raises(ValueError, match="model_type of made must be one of llama, qwen2, qwen3, qwen3_moe for the"):
        read_config(config, name="made")
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(tmp_path)])
    assert read_config(config, name="made").model.has_qk_norm
    monkeypatch.delitem(sys.modules, "kinetics.engine.families.made_up")


def test_two_ways_of_saying_the_rotary_settings_must_agree():
    rope = {"rope_parameters": {"rope_type": "default"}, "rope_scaling": {"rope_type": "llama3"}}
    with pytest.raises(ValueError, match="rope_parameters and rope_scaling of made must agree"):
        read_config(CONFIG | {"model_type": "llama"} | rope, name="made")
