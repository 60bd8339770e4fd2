"""An engine made from a recipe computes on the recipe's threads and leaves no trace of them."""

from __future__ import annotations

import pytest
import torch

from kinetics.engine.recipe import EngineRecipe
from kinetics.machine.threads import cpu_threads
from kinetics.specs.generation import GenerationRequest, SamplingSettings
from kinetics.specs.policies import Dense


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
    from dataclasses import replace

    with cpu_threads(3):
        with pytest.raises(ValueError, match="no safetensors file"), replace(recipe, folder=tmp_path).open():
            pass
        assert torch.get_num_threads() == 3
