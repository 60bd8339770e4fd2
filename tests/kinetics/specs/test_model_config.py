"""No field of a config goes unread: what may change the bytes is refused by its name, or ignored on request aloud."""

import json
from importlib.resources import files

import pytest

from kinetics.specs.cache_formats import find_cache_format
from kinetics.specs.model_config import FAMILIES, read_architecture
from kinetics.specs.weight_formats import find_weight_format

ROWS = {
    row["model"]: row["config"]
    for row in map(json.loads, (files("kinetics.specs") / "known_models.jsonl").read_text().splitlines())
}


def changed(model, **fields):
    """The known config with fields of its text half set."""
    config = json.loads(json.dumps(ROWS[model]))
    (config.get("text_config") or config).update(fields)
    return config


@pytest.mark.parametrize("model", ROWS)
def test_a_field_nobody_knows_is_refused_by_name_and_can_be_ignored_aloud(model):
    config = changed(model, cross_layer_latent_mixing=3)
    with pytest.raises(
        ValueError, match=r"cross_layer_latent_mixing .* is not understood .*--ignore-field cross_layer"
    ):
        read_architecture(config, name="x")
    found = read_architecture(config, name="x", ignored=["cross_layer_latent_mixing"])
    assert found.ignored_fields == ("cross_layer_latent_mixing",)
    assert found.runs == read_architecture(ROWS[model], name="x").runs


@pytest.mark.parametrize("model", ROWS)
@pytest.mark.parametrize("silent", [None, False, 0, "", [], {}])
def test_a_field_that_says_nothing_changes_nothing(model, silent):
    config = changed(model, cross_layer_latent_mixing=silent, bos_token_id=7, rope_theta=1e6)
    assert read_architecture(config, name="x").runs == read_architecture(ROWS[model], name="x").runs


@pytest.mark.parametrize(
    ("model", "fields", "message"),
    [
        ("google/gemma-4-26B-A4B", {"num_kv_shared_layers": 10}, "num_kv_shared_layers .* must be 0, got 10"),
        ("google/gemma-4-26B-A4B", {"hidden_size_per_layer_input": 256}, "hidden_size_per_layer_input .* must be 0"),
        ("Qwen/Qwen2.5-7B", {"use_sliding_window": True}, "use_sliding_window .* must be False, got True"),
        ("Qwen/Qwen3.5-27B", {"attn_output_gate": False}, "attn_output_gate .* must be True, got False"),
        ("deepseek-ai/DeepSeek-V3", {"attention_bias": True}, "attention_bias .* must be False"),
        ("deepseek-ai/DeepSeek-V3", {"kv_lora_rank": "512"}, "kv_lora_rank .* must be an integer from 0 on, got '512'"),
        ("deepseek-ai/DeepSeek-V3", {"kv_lora_rank": 2**60}, "kv_lora_rank .* must be an integer from 0 on"),
        ("deepseek-ai/DeepSeek-V3", {"n_routed_experts": 4}, "experts_per_token must not exceed num_experts, got 8 of"),
        ("zai-org/GLM-5.3", {"indexer_types": ["full", "half"] * 39}, "indexer_types .* must be full or shared"),
        ("openai/gpt-oss-20b", {"layer_types": ["full_attention"]}, "layer_types .* a value for each of 24 layers"),
        ("openai/gpt-oss-20b", {"layer_types": ["chunked"] * 24}, "layer_types .* must be known ones, got 'chunked'"),
        ("MiniMaxAI/MiniMax-M3", {"attention_output_gate": True}, "attention_output_gate .* must be False"),
        ("MiniMaxAI/MiniMax-M2.7", {"attn_type_list": [0] * 62}, "attn_type_list .* must be "),
        ("meta-llama/Meta-Llama-3.1-8B", {"num_key_value_heads": 5}, "num_kv_heads must divide num_q_heads"),
        ("meta-llama/Meta-Llama-3.1-8B", {"num_hidden_layers": 0}, "must have a hidden size, a vocabulary and a layer"),
        ("meta-llama/Meta-Llama-3.1-8B", {"quantization_config": {"quant_method": "gptq"}}, "quant_method .* 'gptq'"),
    ],
)
def test_what_is_not_described_is_refused_by_name(model, fields, message):
    with pytest.raises(ValueError, match=message):
        read_architecture(changed(model, **fields), name="x")


def test_an_unknown_family_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match=r"model_type of x must be one of llama, .*, got 'deepseek_v4'"):
        read_architecture({"model_type": "deepseek_v4"}, name="x")
    assert len(FAMILIES) > 20


def test_towers_and_further_token_heads_are_named_as_left_out():
    config = changed("Qwen/Qwen3.5-27B", mtp_num_hidden_layers=1) | {"vision_config": {"depth": 27}}
    left_out = read_architecture(config, name="x").left_out
    assert left_out == ("heads that predict further tokens", "towers for other senses than text")


@pytest.mark.parametrize(
    ("model", "dense", "experts"),
    [
        ("meta-llama/Meta-Llama-3.1-8B", "bf16", "bf16"),
        ("deepseek-ai/DeepSeek-V3.2", "fp8_block", "fp8_block"),
        ("openai/gpt-oss-120b", "bf16", "mxfp4"),
        ("moonshotai/Kimi-K2.5", "bf16", "int4"),
        ("zai-org/GLM-5-FP8", "fp8_block", "fp8_block"),
    ],
)
def test_weights_are_kept_in_what_the_config_says(model, dense, experts):
    weights = read_architecture(ROWS[model], name="x").weights
    assert (weights.dense.name, weights.experts.name) == (dense, experts)
    assert weights.of("head").name == "bf16"


def test_published_checkpoints_have_the_bytes_that_their_formats_give():
    # 689 GB of DeepSeek-V3's files hold 14 GB of further-token heads; 65.2 GB are gpt-oss-120b's, 60.8 GiB on its card
    v3 = read_architecture(ROWS["deepseek-ai/DeepSeek-V3"], name="x").weight_bytes()
    oss = read_architecture(ROWS["openai/gpt-oss-120b"], name="x").weight_bytes()
    assert v3 == pytest.approx(675e9, rel=0.01)
    assert oss == pytest.approx(60.8 * 2**30, rel=0.01)


@pytest.mark.parametrize(
    ("name", "bytes_of_128"), [("bf16", 256), ("fp8", 128), ("int4", 68), ("fp4", 72), ("float8_e4m3fn", 128)]
)
def test_a_vector_in_the_cache_pays_its_scales(name, bytes_of_128):
    assert find_cache_format(name).vector_bytes(128) == bytes_of_128


def test_formats_nobody_knows_are_named():
    with pytest.raises(ValueError, match=r"a cache format must be one of bf16, .*, got 'fp3'"):
        find_cache_format("fp3")
    with pytest.raises(ValueError, match=r"a weight format must be one of bf16, .*, got 'fp3'"):
        find_weight_format("fp3")
