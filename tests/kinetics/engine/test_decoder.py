"""The engine computes what transformers computes, under any page size; sparse policies attend what they say."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kinetics.engine.attention import AttentionSettings
from kinetics.engine.checkpoint import load_weights
from kinetics.engine.decoder import Decoder
from kinetics.specs.policies import BlockSummary, BlockTopK, Dense, Local, TopK
from kinetics_kernels.shapes import PageSummaryKind
from tests.support.decoding import Decoding, MaskedAttention, random_prompts
from tests.support.small_models import FAMILIES, VOCAB_SIZE

DENSE = AttentionSettings(backend="reference")
LOGIT_TOLERANCE = 1e-4


def their_logits(model, prompt):
    with torch.inference_mode():
        return model(prompt[None]).logits[0, -1]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("page_size", "chunk_tokens"), [(16, 512), (64, 7)])
def test_ragged_logits_equal_those_of_transformers(load_model, family, page_size, chunk_tokens):
    model = load_model(family)
    prompts = random_prompts([1, 15, 16, 17, 53], vocab_size=VOCAB_SIZE)
    decoding = Decoding(model.ours, prompts, page_size=page_size, settings=DENSE, chunk_tokens=chunk_tokens)
    expected = torch.stack([their_logits(model.theirs, prompt) for prompt in prompts])
    assert (decoding.logits - expected).abs().max() < LOGIT_TOLERANCE
    for step in range(2):
        token_ids = torch.arange(len(prompts)) + step
        prompts = [torch.cat([prompt, token[None]]) for prompt, token in zip(prompts, token_ids, strict=True)]
        expected = torch.stack([their_logits(model.theirs, prompt) for prompt in prompts])
        assert (decoding.step(token_ids) - expected).abs().max() < LOGIT_TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_64_greedy_tokens_equal_those_of_transformers_for_any_page_size(load_model, family):
    model = load_model(family)
    prompt = random_prompts([29], vocab_size=VOCAB_SIZE)[0]
    theirs = model.theirs.generate(
        prompt[None],
        attention_mask=torch.ones(1, 29, dtype=torch.long),
        max_new_tokens=64,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )[0, 29:]
    for page_size in (16, 32, 128):
        ours = Decoding(model.ours, [prompt], page_size=page_size, settings=DENSE).greedy(64)[0]
        assert ours.tolist() == theirs.tolist(), f"page_size {page_size}"


@pytest.mark.parametrize("summary", list(BlockSummary))
def test_block_topk_that_selects_every_page_chooses_the_tokens_of_dense(load_model, summary):
    decoder = load_model("qwen3").ours
    prompts = random_prompts([40, 75], vocab_size=VOCAB_SIZE)
    every_page = BlockTopK(block_size=16, top_blocks=16, keeps_partial_block=True, summary=summary)
    sparse = AttentionSettings(policy=every_page, backend="reference")
    dense_tokens = Decoding(decoder, prompts, settings=DENSE).greedy(64)
    assert torch.equal(Decoding(decoder, prompts, settings=sparse).greedy(64), dense_tokens)


@pytest.mark.parametrize("policy", [Dense(), BlockTopK(block_size=16, top_blocks=16, keeps_partial_block=True)])
def test_bfloat16_weights_beside_a_float32_cache_prefill_and_decode_as_the_same_weights_in_float32(load_model, policy):
    model = load_model("qwen3")
    spec = model.ours.spec
    narrow, wide = (
        load_weights(model.folder, spec.model, device="cpu", dtype=dtype) for dtype in (torch.bfloat16, torch.float32)
    )
    for tensor in wide.tensors():
        tensor.copy_(tensor.bfloat16())
    prompts = random_prompts([40, 75], vocab_size=VOCAB_SIZE)
    settings = AttentionSettings(policy=policy, backend="reference")
    ours, reference = (Decoding(Decoder(spec, weights), prompts, settings=settings) for weights in (narrow, wide))
    for step in range(5):
        error = (ours.logits.float() - reference.logits).norm() / reference.logits.norm()
        assert 0 < error < 0.05  # eight bits of mantissa over a few layers; a wrong key or page makes it about 1
        for one in (ours, reference):
            one.step(torch.arange(len(prompts)) * 31 + step)


BLOCKS = BlockTopK(block_size=16, top_blocks=2, num_local=16, num_sink_tokens=16, keeps_partial_block=True)


@pytest.mark.parametrize(
    "policy",
    [
        BLOCKS,
        replace(BLOCKS, summary=BlockSummary.MIN_MAX),
        Local(num_local=32, num_sink_tokens=16),
        TopK(kv_budget=24, num_sink_tokens=4),
    ],
    ids=["block_topk_mean", "block_topk_min_max", "local", "topk"],
)
@pytest.mark.parametrize("num_dense_layers", [0, 2])
def test_a_sparse_policy_equals_masked_attention(load_model, policy, num_dense_layers):
    decoder = load_model("qwen3").ours
    settings = AttentionSettings(policy=policy, num_dense_layers=num_dense_layers, backend="reference")
    kind = settings.needed_summary or PageSummaryKind.MEAN
    prompts = random_prompts([5, 16, 150, 201], vocab_size=VOCAB_SIZE)
    ours = Decoding(decoder, prompts, settings=settings)
    masked = Decoding(decoder, prompts, settings=settings)
    by_layer = {
        dense: MaskedAttention(masked.cache, masked.sequences, Dense() if dense else policy, kind)
        for dense in (True, False)
    }
    masked.attention = lambda layer, *rest: by_layer[layer < num_dense_layers](layer, *rest)
    dense = Decoding(decoder, prompts, settings=DENSE)
    for step in range(20):
        token_ids = torch.arange(len(prompts)) * 31 + step
        assert (ours.step(token_ids) - masked.step(token_ids)).abs().max() < LOGIT_TOLERANCE
    for step in range(20):
        dense.step(torch.arange(len(prompts)) * 31 + step)
    assert (ours.logits[2:] - dense.logits[2:]).abs().max() > 10 * LOGIT_TOLERANCE, "the policy must leave keys out"


def test_a_token_does_not_depend_on_the_batch_it_is_decoded_in(load_model):
    for family in FAMILIES:
        decoder = load_model(family).ours
        prompts = random_prompts([40, 75, 8], vocab_size=VOCAB_SIZE)
        together = Decoding(decoder, prompts, settings=AttentionSettings(num_splits=1, backend="reference"))
        alone = Decoding(decoder, prompts[1:2], settings=AttentionSettings(num_splits=1, backend="reference"))
        for token in range(3):
            everyone = together.step(torch.tensor([5, token, 9]))
            assert torch.equal(everyone[1], alone.step(torch.tensor([token]))[0])
