"""Parameter counts follow from the architecture; names and configs find their spec."""

import pytest

from kinetics.specs.models import MODEL_SPECS, ModelSpec, find_model

# Totals as the published checkpoints report them, with active ones, matmul weights a token and bf16 KV bytes a token.
PUBLISHED_COUNTS = {
    "Qwen3-0.6B": (596_049_920, 596_049_920, 595_984_384, 114_688),
    "Qwen3-1.7B": (1_720_574_976, 1_720_574_976, 1_720_451_072, 114_688),
    "Qwen3-4B": (4_022_468_096, 4_022_468_096, 4_022_272_000, 147_456),
    "Qwen3-8B": (8_190_735_360, 8_190_735_360, 7_568_097_280, 147_456),
    "Qwen3-14B": (14_768_307_200, 14_768_307_200, 13_989_969_920, 163_840),
    "Qwen3-32B": (32_762_123_264, 32_762_123_264, 31_983_534_080, 262_144),
    "Qwen3-30B-A3B": (30_532_122_624, 3_353_032_704, 3_041_656_832, 98_304),
    "Qwen3-235B-A22B": (235_093_634_560, 22_190_763_520, 21_567_635_456, 192_512),
    "DeepSeek-R1-Distill-Qwen-1.5B": (1_777_088_000, 1_777_088_000, 1_543_569_408, 28_672),
    "DeepSeek-R1-Distill-Qwen-7B": (7_615_616_512, 7_615_616_512, 7_070_285_824, 57_344),
    "DeepSeek-R1-Distill-Qwen-14B": (14_770_033_664, 14_770_033_664, 13_990_625_280, 196_608),
    "DeepSeek-R1-Distill-Qwen-32B": (32_763_876_352, 32_763_876_352, 31_984_189_440, 262_144),
    "Qwen2.5-0.5B": (494_032_768, 494_032_768, 493_961_216, 12_288),
}

QWEN3_8B_CONFIG = {
    "model_type": "qwen3",
    "num_hidden_layers": 36,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 12288,
    "vocab_size": 151936,
    "tie_word_embeddings": False,
    "attention_bias": False,
}


def test_every_model_has_published_counts():
    assert [spec.name for spec in MODEL_SPECS] == list(PUBLISHED_COUNTS)


@pytest.mark.parametrize("spec", MODEL_SPECS, ids=lambda spec: spec.slug)
def test_counts_computed_from_the_architecture_equal_the_published_ones(spec):
    counts = (
        spec.num_parameters,
        spec.num_active_parameters,
        spec.matmul_parameters_per_token,
        spec.kv_bytes_per_token(2),
    )
    assert counts == PUBLISHED_COUNTS[spec.name]


@pytest.mark.parametrize("spelling", ["Qwen3-8B", "qwen3_8b", "Qwen/Qwen3-8B", "QWEN3 8B"])
def test_a_model_is_found_under_every_usual_spelling(spelling):
    assert find_model(spelling).name == "Qwen3-8B"


def test_every_slug_finds_its_model():
    assert [find_model(spec.slug) for spec in MODEL_SPECS] == list(MODEL_SPECS)


def test_an_unknown_model_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"got 'Qwen9-8B'; did you mean Qwen3-8B"):
        find_model("Qwen9-8B")


def test_a_config_makes_the_spec_of_the_table():
    assert ModelSpec.from_config(QWEN3_8B_CONFIG, name="Qwen3-8B") == find_model("Qwen3-8B")


def test_a_moe_config_makes_the_spec_of_the_table():
    config = QWEN3_8B_CONFIG | {
        "model_type": "qwen3_moe", "num_hidden_layers": 48, "hidden_size": 2048, "num_key_value_heads": 4,
        "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8,
        "mlp_only_layers": [], "decoder_sparse_step": 1,
    }  # fmt: skip
    assert ModelSpec.from_config(config, name="Qwen3-30B-A3B") == find_model("Qwen3-30B-A3B")


def test_a_qwen2_config_without_head_dim_divides_the_hidden_size():
    config = QWEN3_8B_CONFIG | {
        "model_type": "qwen2", "num_hidden_layers": 28, "hidden_size": 3584, "num_attention_heads": 28,
        "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064, "head_dim": None,
    }  # fmt: skip
    spec = ModelSpec.from_config(config, name="DeepSeek-R1-Distill-Qwen-7B")
    assert spec == find_model("DeepSeek-R1-Distill-Qwen-7B")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "model_type of x must be one of llama, qwen2, qwen3, qwen3_moe, got 'gpt2'"),
        ({"model_type": "llama", "attention_bias": True}, "x must have no biases, got attention_bias or mlp_bias"),
        ({"vocab_size": "many"}, "vocab_size in the config of x must be an integer, got 'many'"),
        ({"num_key_value_heads": 5}, "num_kv_heads of x must divide num_q_heads"),
        ({"num_hidden_layers": 0}, "num_layers of x must be at least 1, got 0"),
        ({"model_type": "qwen3_moe", "mlp_only_layers": [0]}, "x must have experts in every layer"),
    ],
)
def test_a_config_that_cannot_be_described_says_why(change, message):
    with pytest.raises(ValueError, match=message):
        ModelSpec.from_config(QWEN3_8B_CONFIG | change, name="x")


def test_large_batches_read_every_expert_and_one_token_only_its_own():
    spec = find_model("Qwen3-30B-A3B")
    assert spec.weights_read_per_step(1) == spec.matmul_parameters_per_token
    all_weights = spec.num_parameters - spec.num_embedding_parameters
    norms = spec.num_layers * (2 * spec.hidden_size + 2 * spec.head_dim) + spec.hidden_size
    assert spec.weights_read_per_step(4096) == all_weights - norms
