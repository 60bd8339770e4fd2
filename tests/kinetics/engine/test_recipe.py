"""An engine made from a recipe computes on the recipe's threads and leaves no trace of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kinetics.engine import recipe as recipe_module
from kinetics.engine.recipe import EngineRecipe
from kinetics.machine.threads import cpu_threads
from kinetics.specs.generation import GenerationRequest, SamplingSettings
from kinetics.specs.policies import BlockTopK, Dense
from kinetics_kernels import api


@pytest.fixture
def recipe(load_model):
    model = load_model("qwen3")
    return EngineRecipe(
        folder=model.folder,
        spec=model.ours.spec,
        device="cpu",
        policy=Dense(),
        num_dense_layers=0,
        page_size=16,
        batch=2,
        longest=64,
        num_threads=1,
    )


def test_the_threads_of_an_engine_end_with_it(recipe):
    one = GenerationRequest(
        request_id="a", prompt_token_ids=(1, 2, 3), max_new_tokens=4, sampling=SamplingSettings(), seed=0
    )
    seen = []
    with cpu_threads(3):
        with recipe.open(observe=lambda _: seen.append(torch.get_num_threads())) as generate:
            assert len(list(generate([one]))) == 1
        assert torch.get_num_threads() == 3
    assert seen == [1, 1, 1]


def test_an_engine_that_cannot_be_made_leaves_the_threads_alone(recipe, tmp_path):
    with cpu_threads(3):
        with pytest.raises(ValueError, match="no safetensors file"), replace(recipe, folder=tmp_path).open():
            pass
        assert torch.get_num_threads() == 3


SPARSE = BlockTopK(block_size=32, top_blocks=2, num_local=32, num_sink_tokens=32, keeps_partial_block=True)
OTHERS = {"policy": SPARSE, "num_dense_layers": 2, "page_size": 32, "batch": 3, "longest": 96}


def test_every_part_of_a_recipe_reaches_the_engine(recipe, monkeypatch):
    made = {}
    monkeypatch.setattr(recipe_module, "Generator", lambda decoder, **options: made.update(options, decoder=decoder))
    with replace(recipe, **OTHERS).open():
        pass
    settings = made["settings"]
    assert (settings.policy, settings.num_dense_layers) == (SPARSE, 2)
    assert (made["page_size"], made["max_batch"], made["max_context"]) == (32, 3, 96)
    assert made["num_pages"] == (96 // 32 + 1) * (3 + 1)
    assert made["decoder"].spec == recipe.spec


@pytest.mark.parametrize("policy", [Dense(), replace(SPARSE, block_size=16, num_local=16, num_sink_tokens=16)])
def test_on_a_cpu_no_attention_is_ever_split(recipe, monkeypatch, policy):
    """A split follows the batch and changes the digits of a sum: a sample must not depend on its neighbours."""
    splits = set()
    for name in ("paged_decode", "block_topk_decode"):
        real = getattr(api, name)

        def spied(*args, real=real, **options):
            splits.add(options["num_splits"])
            return real(*args, **options)

        monkeypatch.setattr(api, name, spied)
    recipe = replace(recipe, policy=policy)
    one = GenerationRequest(
        request_id="a", prompt_token_ids=tuple(range(50)), max_new_tokens=4, sampling=SamplingSettings(), seed=0
    )
    with recipe.open() as generate:
        list(generate([one]))
    assert splits == {recipe.facts()["num_splits"]} == {1}


@pytest.mark.parametrize("policy", [Dense(), SPARSE])
def test_the_cache_takes_its_share_of_the_memory_and_no_more(recipe, policy):
    recipe = replace(recipe, policy=policy, page_size=32, batch=3, longest=96)
    model = recipe.spec.model
    with recipe.open() as generate:
        page_bytes = generate.cache.num_bytes / generate.cache.allocator.num_pages
    wanted = recipe._num_pages(model, 10**12)
    for free_bytes in (10**9, int(page_bytes * (wanted + 3) / 0.8) - 5000, int(page_bytes * 9 / 0.8)):
        held = recipe._num_pages(model, free_bytes) + recipe.batch
        assert held * page_bytes <= 0.8 * free_bytes
        assert held == wanted + recipe.batch or (held + 1) * page_bytes > 0.8 * free_bytes
    with pytest.raises(ValueError, match="the cache must hold one request of 96 tokens"):
        recipe._num_pages(model, int(page_bytes * 6 / 0.8))


@pytest.mark.parametrize("field", ["batch", "longest", "num_threads"])
def test_a_recipe_of_nothing_is_refused(recipe, field):
    with pytest.raises(ValueError, match=f"{field} must be at least 1, got 0"):
        replace(recipe, **{field: 0})
