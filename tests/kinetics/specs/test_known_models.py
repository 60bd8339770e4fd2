"""Counts of known models equal those of transformers' classes; caches equal published figures; names find models."""

import csv
import json
from importlib.resources import files
from pathlib import Path

import pytest

from kinetics.specs.cache_formats import find_cache_format
from kinetics.specs.known_models import find_architecture, known_model_names
from kinetics.specs.model_config import read_architecture
from kinetics.specs.models import MODEL_SPECS
from kinetics.specs.recurrent_layers import GatedDeltaNet

BF16, FP8 = find_cache_format("bf16"), find_cache_format("fp8")
COUNTS = Path(__file__).parents[2] / "data" / "parameter_counts.csv"
"""Parameters of transformers 5.24.0's classes on the meta device; further-token heads and other towers left out."""
CACHES = COUNTS.parent / "cache_bytes.csv"
ROWS = [json.loads(line) for line in (files("kinetics.specs") / "known_models.jsonl").read_text().splitlines()]


def frozen_counts():
    with COUNTS.open(encoding="utf-8") as file:
        return {row["model"]: int(row["num_parameters"]) for row in csv.DictReader(file)}


@pytest.mark.parametrize("model", frozen_counts())
def test_parameters_are_exactly_those_of_transformers(model):
    assert find_architecture(model).num_parameters == frozen_counts()[model]


def test_every_known_model_but_those_transformers_lacks_is_checked():
    unchecked = {row["model"] for row in ROWS} - frozen_counts().keys()
    assert unchecked == {"XiaomiMiMo/MiMo-7B-Base"}


ONE_OF_A_FAMILY = (
    "meta-llama/Meta-Llama-3.1-8B", "Qwen/Qwen2.5-7B", "Qwen/Qwen3.5-35B-A3B", "openai/gpt-oss-20b",
    "deepseek-ai/DeepSeek-V3.2", "zai-org/GLM-5.3", "google/gemma-4-26B-A4B", "XiaomiMiMo/MiMo-V2-Flash",
    "nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16", "MiniMaxAI/MiniMax-M2.5", "mistralai/Mixtral-8x7B-v0.1",
)  # fmt: skip


@pytest.mark.parametrize("model", ONE_OF_A_FAMILY)
def test_frozen_counts_are_those_of_the_transformers_at_hand(model):
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    config = dict(next(row["config"] for row in ROWS if row["model"] == model))
    config.pop("quantization_config", None)
    if config["model_type"] not in transformers.CONFIG_MAPPING:
        pytest.skip(f"transformers {transformers.__version__} has no {config['model_type']}")
    text = transformers.CONFIG_MAPPING[config["model_type"]].from_dict(config).get_text_config()
    with torch.device("meta"):
        reference = transformers.AutoModelForCausalLM.from_config(text)
    assert sum(parameter.numel() for parameter in reference.parameters()) == frozen_counts()[model]


def published_cache_bytes():
    with CACHES.open(encoding="utf-8") as file:
        return [(row["model"], row["cache"], int(row["bytes_per_token"])) for row in csv.DictReader(file)]


@pytest.mark.parametrize(("model", "cache", "bytes_per_token"), published_cache_bytes())
def test_a_token_leaves_in_the_cache_what_is_published(model, cache, bytes_per_token):
    assert find_architecture(model).cache_bytes(1, find_cache_format(cache)) == bytes_per_token


def test_windows_bound_the_cache_and_states_do_not_grow():
    oss = find_architecture("gpt-oss-120b")
    assert oss.cache_bytes_per_token(BF16) == 73_728 // 2
    assert oss.cache_bytes(1000, BF16) == (18 * 1000 + 18 * 128) * 4096 // 2
    hybrid = find_architecture("Qwen3.5-27B")
    assert hybrid.num_mixers == {"gated_delta_net": 48, "gqa": 16}
    assert hybrid.cache_bytes_per_token(BF16) == 16 * 2 * 4 * 256 * 2
    states = sum(count * mixer.state_bytes() for count, mixer in hybrid.mixers() if isinstance(mixer, GatedDeltaNet))
    assert hybrid.cache_bytes(0, BF16) == states > 0


def test_layers_that_share_an_index_keep_no_index_keys():
    own, shared = find_architecture("GLM-5"), find_architecture("GLM-5.3")
    difference = own.cache_bytes_per_token(FP8) - shared.cache_bytes_per_token(FP8)
    assert difference == 132 * (78 - 21)


@pytest.mark.parametrize("model", known_model_names())
def test_devices_share_what_can_be_shared_and_lose_no_weight(model):
    whole = find_architecture(model)
    shard = whole.num_weights_read(8, 2)
    assert whole.num_weights_read(8) / 2 <= shard * (1 + 1e-9) < whole.num_weights_read(8)
    assert whole.cache_bytes(100, BF16) / 2 <= whole.cache_bytes(100, BF16, 2) <= whole.cache_bytes(100, BF16)


@pytest.mark.parametrize("model", known_model_names())
def test_a_batch_reads_no_less_than_its_tokens_multiply_with_and_no_more_than_there_is(model):
    found = find_architecture(model)
    reads = [found.num_weights_read(batch) for batch in (1, 2, 64, 4096)]
    assert reads == sorted(reads)
    assert reads[0] == pytest.approx(found.matmul_parameters_per_token)
    assert reads[-1] <= found.num_parameters
    assert found.num_active_parameters <= found.num_parameters


@pytest.mark.parametrize("spelled", ["DeepSeek-V3.2", "deepseek_v3.2", "deepseek-ai/deepseek-v3.2", "DEEPSEEK V3.2"])
def test_a_model_is_found_under_every_usual_spelling(spelled):
    assert find_architecture(spelled).name == "deepseek-ai/DeepSeek-V3.2"


def test_words_that_change_no_shape_are_no_part_of_a_name():
    assert find_architecture("Llama-3.1-70B-Instruct").name == "meta-llama/Meta-Llama-3.1-70B"
    assert find_architecture("gemma-3-12b").name == "google/gemma-3-12b-it"
    assert len({find_architecture(name).name for name in known_model_names()}) == len(known_model_names())


def test_an_unknown_name_gets_the_nearest_ones():
    with pytest.raises(ValueError, match=r"got 'deepseek-v33'; did you mean .*deepseek-ai/DeepSeek-V3"):
        find_architecture("deepseek-v33")
    with pytest.raises(ValueError, match=r"got 'x'; choose from Qwen3-0\.6B, "):
        find_architecture("x")


def test_plain_models_are_the_same_by_table_and_by_config():
    spec = next(one for one in MODEL_SPECS if one.name == "Qwen3-30B-A3B")
    config = {
        "model_type": "qwen3_moe", "num_hidden_layers": 48, "hidden_size": 2048, "num_attention_heads": 32,
        "num_key_value_heads": 4, "head_dim": 128, "moe_intermediate_size": 768, "num_experts": 128,
        "num_experts_per_tok": 8, "vocab_size": 151936, "intermediate_size": 6144,
    }  # fmt: skip
    assert read_architecture(config, name=spec.name) == spec.architecture


def test_a_config_file_or_its_folder_names_a_model(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text("\ufeff" + json.dumps(ROWS[0]["config"]), encoding="utf-8")
    for name in (str(folder), str(folder / "config.json")):
        assert find_architecture(name).num_parameters == find_architecture(ROWS[0]["model"]).num_parameters
        assert find_architecture(name).name == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "must be a JSON object, got list"),
        ("{", r"must be a JSON object, got something else \(Expecting"),
        ("[" * 100_000, r"must be a JSON object, got something else \(must be nested at most 64"),
        ("{}", "model_type of .* must be one of llama, .*got None"),
    ],
)
def test_a_file_that_is_no_config_is_one_line(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        find_architecture(str(tmp_path / "config.json"))
    assert "\n" not in str(caught.value)
