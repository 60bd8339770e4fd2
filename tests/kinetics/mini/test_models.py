"""The models that come along load in the engine and in transformers alike, and solve the contest."""

from __future__ import annotations

import json

import pytest
import torch
from tokenizers import Tokenizer

from kinetics.engine.attention import AttentionSettings
from kinetics.engine.checkpoint import load_weights, read_spec
from kinetics.engine.decoder import Decoder
from kinetics.engine.kv_cache import KvCache, PagedSequence
from kinetics.mini.batches import draw_batch
from kinetics.mini.contest import END
from kinetics.mini.exam import MAX_CONTEXT, PAGE_SIZE, sit_exam
from kinetics.mini.family import MINI_MODELS, MINI_SPECS, contest_problems, mini_spec, model_folder
from kinetics.mini.tokenizer import TOKEN_IDS, make_tokenizer
from kinetics_kernels.shapes import num_pages_for

MAX_STORED_BYTES = 6_000_000


@pytest.fixture(scope="module", params=MINI_MODELS)
def folder(request):
    return model_folder(request.param)


def engine_logits(folder, token_ids):
    spec = read_spec(folder)
    decoder = Decoder(spec, load_weights(folder, spec.model, device="cpu", dtype=torch.float32))
    num_pages = num_pages_for(len(token_ids), PAGE_SIZE)
    logits = []
    for length in range(1, len(token_ids) + 1, 37):
        cache = KvCache(
            spec.model, num_pages=num_pages, page_size=PAGE_SIZE, device="cpu", dtype=torch.float32, summary_kind=None
        )
        logits.append(decoder.prefill(token_ids[:length], cache, PagedSequence()))
    return torch.stack(logits)


def test_engine_and_transformers_agree_on_logits(folder):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert type(theirs).__name__ == "Qwen3ForCausalLM"
    token_ids = draw_batch(seed=3, step=1, max_misses=40, num_tokens=1).token_ids[0]
    with torch.inference_mode():
        expected = theirs(token_ids[None]).logits[0]
    torch.testing.assert_close(engine_logits(folder, token_ids), expected[::37], rtol=0, atol=1e-4)


def test_config_and_tokenizer_are_those_of_the_family(folder):
    spec = read_spec(folder)
    assert spec.model == mini_spec(folder.name)
    assert spec.max_position >= MAX_CONTEXT
    assert spec.eos_token_ids == (TOKEN_IDS[END],)
    stored = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert json.loads(stored.to_str()) == json.loads(make_tokenizer().to_str())


def test_the_training_record_says_how_the_model_came_about(folder):
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert record["command"].startswith(f"kinetics mini train --model {folder.name} --steps {record['num_steps']}")
    assert record["num_parameters"] == mini_spec(folder.name).num_parameters
    assert record["curve"][-1]["step"] == record["num_steps"]
    assert record["curve"][-1]["loss"] < record["curve"][0]["loss"] / 2


def test_sizes_are_near_what_the_names_say():
    for spec, nominal in zip(MINI_SPECS, (50_000, 200_000, 800_000), strict=True):
        assert 0.9 * nominal < spec.num_parameters < 1.1 * nominal
        assert spec.head_dim == 64


def test_the_family_stays_small():
    stored = [path for name in MINI_MODELS for path in model_folder(name).iterdir()]
    assert sum(path.stat().st_size for path in stored) < MAX_STORED_BYTES
    assert {path.name for path in stored} == {"config.json", "model.safetensors", "tokenizer.json", "training.json"}


def test_an_unknown_model_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"one of mini-50k, mini-200k, mini-800k, got 'mini-1b'"):
        model_folder("mini-1b")


def test_the_smallest_model_solves_far_more_than_chance():
    result = sit_exam(model_folder("mini-50k"), contest_problems(12), num_trials=2, max_batch=24)
    num_right = sum(question.num_correct for question in result.questions)
    assert num_right >= 5, "a guess is right once in 64"
    assert result.num_attempts > 200
    assert result.step_mistakes["look-up"] < 0.5 * result.num_attempts, "a guess is wrong nine times in ten"
    for question in result.questions:
        at_cuts = [sum(question.graded_cuts[budget]) for budget in sorted(question.graded_cuts)]
        assert at_cuts == sorted(at_cuts)
        assert at_cuts[-1] == question.num_correct


def test_the_same_exam_gives_the_same_samples():
    one, two = (
        sit_exam(
            model_folder("mini-50k"),
            contest_problems(2),
            num_trials=1,
            max_batch=2,
            settings=AttentionSettings(num_splits=1),
        )
        for _ in range(2)
    )
    assert one == two
