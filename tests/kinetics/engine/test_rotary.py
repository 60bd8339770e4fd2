"""Rotary frequencies are those of the model: plain, or stretched as Llama 3.1 stretches them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kinetics.engine.families import read_config
from kinetics.engine.rotary import Llama3Scaling, radians_per_token
from tests.support.small_models import LLAMA3_ROPE

LLAMA_31 = Llama3Scaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position=8192)
CONFIG = {
    "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 256, "num_attention_heads": 4,
    "num_key_value_heads": 2, "intermediate_size": 512, "vocab_size": 320, "rms_norm_eps": 1e-5,
    "max_position_embeddings": 131072, "rope_theta": 500000.0, "head_dim": 64, "eos_token_id": 2,
}  # fmt: skip


@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("scaling", [LLAMA_31, replace(LLAMA_31, factor=32.0), replace(LLAMA_31, high_freq_factor=8.0)])
def test_stretched_frequencies_are_those_of_transformers(head_dim, scaling):
    transformers = pytest.importorskip("transformers")
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config = transformers.LlamaConfig(
        head_dim=head_dim,
        hidden_size=256,
        num_attention_heads=4,
        max_position_embeddings=131072,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": scaling.factor,
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_max_position,
        },
    )
    ours = radians_per_token(head_dim, theta=500000.0, scaling=scaling, device="cpu")
    torch.testing.assert_close(ours, LlamaRotaryEmbedding(config).inv_freq, rtol=1e-6, atol=0.0)


def test_fast_rotations_stay_and_slow_ones_are_stretched_by_the_factor():
    plain = radians_per_token(128, theta=500000.0, scaling=None, device="cpu")
    stretched = radians_per_token(128, theta=500000.0, scaling=LLAMA_31, device="cpu")
    ratio = plain / stretched
    assert ratio[0] == 1.0
    assert ratio[-1] == pytest.approx(8.0)
    assert (ratio.diff() >= -1e-6).all()


@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_both_spellings_of_a_config_give_the_same_spec(key):
    rope = {**LLAMA3_ROPE, "rope_theta": 500000.0}
    spec = read_config({**CONFIG, key: rope}, name="made")
    assert spec.rope_theta == 500000.0
    assert spec.norm_epsilon == 1e-5
    assert spec.rope_scaling == replace(LLAMA_31, original_max_position=64)
    assert not spec.model.has_qk_norm
    assert read_config(CONFIG, name="made").rope_scaling is None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"factor": None}, "factor in the rotary scaling of made must be a number, got 'None'"),
        ({"factor": "8"}, "must be a number, got '8'"),
        ({"factor": 0}, "factor of llama3 rotary scaling must be positive, got 0"),
        ({"factor": float("nan")}, "must be a number, got 'nan'"),
        ({"high_freq_factor": 1.0}, "low_freq_factor of llama3 rotary scaling must be below"),
        ({"original_max_position_embeddings": True}, "must be a number, got 'True'"),
        ({"factor": 10**400}, "factor in the rotary scaling of made must be a number"),
        ({"rope_type": "yarn"}, "rope type of made must be 'default' or 'llama3', got 'yarn'"),
    ],
)
def test_a_scaling_that_is_not_whole_is_refused_by_its_field(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        read_config({**CONFIG, "rope_scaling": {**LLAMA3_ROPE, **change}}, name="made")
