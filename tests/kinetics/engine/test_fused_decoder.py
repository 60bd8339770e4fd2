"""The decoder with fewer launches computes what the plain one computes, in every family and by every policy."""

from __future__ import annotations

import pytest
import torch

from kinetics.engine.attention import AttentionSettings
from kinetics.engine.fused_decoder import FusedDecoder
from kinetics.specs.policies import BlockTopK
from tests.support.small_models import FAMILIES
from tests.support.two_ranks import decode

TOLERANCE = 1e-5
SPARSE = AttentionSettings(
    policy=BlockTopK(block_size=16, top_blocks=1, num_local=16, num_sink_tokens=16, keeps_partial_block=True)
)


@pytest.mark.parametrize("settings", [AttentionSettings(), SPARSE], ids=["dense", "block_topk"])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_greedy_tokens_are_those_of_the_plain_decoder(load_model, family, settings):
    plain = load_model(family).ours
    fused = FusedDecoder(plain.spec, plain.weights)
    expected, found = decode(plain, settings), decode(fused, settings)
    error = (found["logits"] - expected["logits"]).abs().max() / expected["logits"].abs().max()
    assert error <= TOLERANCE
    assert torch.equal(found["tokens"], expected["tokens"])
