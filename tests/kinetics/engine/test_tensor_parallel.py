"""A model shared by several ranks computes what one rank computes, and says how often they talk."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from kinetics.engine.attention import AttentionSettings
from kinetics.engine.decoder import Decoder
from kinetics.engine.tensor_parallel import joined_ranks, shard_weights
from kinetics.engine.weights import empty_weights
from kinetics.specs.models import find_model
from kinetics.specs.policies import BlockTopK
from kinetics.specs.shard import shard_of
from tests.support.paths import ROOT
from tests.support.small_models import FAMILIES
from tests.support.thread_ranks import on_ranks
from tests.support.two_ranks import decode, shared_decoder

LOGIT_TOLERANCE = 1e-5
"""Sums of halves instead of sums of wholes, in float32."""
SPARSE = AttentionSettings(
    policy=BlockTopK(block_size=16, top_blocks=1, num_local=16, num_sink_tokens=16, keeps_partial_block=True)
)
SHARED_FAMILIES = [family for family in FAMILIES if family != "qwen2"]
"""The small Qwen2 has one KV head, which two ranks cannot share."""


@pytest.mark.parametrize("settings", [AttentionSettings(), SPARSE], ids=["dense", "block_topk"])
@pytest.mark.parametrize("family", SHARED_FAMILIES)
def test_two_ranks_give_the_logits_and_the_greedy_tokens_of_one(load_model, family, settings):
    model = load_model(family)
    alone = decode(model.ours, settings)
    found, calls = on_ranks(2, lambda ranks: decode(shared_decoder(model.folder, ranks), settings))
    for rank in found:
        assert (rank["logits"] - alone["logits"]).abs().max() <= LOGIT_TOLERANCE * alone["logits"].abs().max()
        assert torch.equal(rank["tokens"], alone["tokens"])
    assert torch.equal(found[0]["logits"], found[1]["logits"])
    num_passes = calls.count("gather")
    assert calls.count("all_reduce") == num_passes * (1 + 2 * model.ours.spec.model.num_layers)


@pytest.mark.slow
def test_two_processes_over_gloo_give_the_logits_and_the_greedy_tokens_of_one(load_model, tmp_path):
    models = {load_model(family).folder.name: load_model(family) for family in SHARED_FAMILIES}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1",
        "--master-port", str(port), "-m", "tests.support.two_ranks", str(tmp_path / "found.pt"),
        *(str(model.folder) for model in models.values()),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[:3000]
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    for name, model in models.items():
        alone = decode(model.ours, AttentionSettings())
        error = (found[name]["logits"] - alone["logits"]).abs().max() / alone["logits"].abs().max()
        assert error <= LOGIT_TOLERANCE, name
        assert torch.equal(found[name]["tokens"], alone["tokens"]), name


@pytest.mark.parametrize("vocab_size", [319, 320, 321])
@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_shards_together_are_the_whole_model_and_nothing_twice(num_ranks, vocab_size):
    model = replace(find_model("Qwen3-0.6B"), num_layers=1, hidden_size=64, intermediate_size=96, vocab_size=vocab_size)
    whole = empty_weights(model, device="cpu", dtype=torch.float32)
    for number, tensor in enumerate(whole.tensors()):
        tensor.copy_(torch.arange(tensor.numel()).view(tensor.shape) + 1e6 * number)
    shards = [shard_weights(whole, model, rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]
    expected = empty_weights(shard_of(model, num_ranks), device="cpu", dtype=torch.float32)
    for shard in shards:
        assert [t.shape for t in shard.tensors()] == [t.shape for t in expected.tensors()]
        assert (shard.head is shard.embedding) == model.ties_embeddings
    for name in ("qkv", "output", "gate_up", "down"):
        parts = torch.cat([getattr(shard.layers[0], name).flatten() for shard in shards])
        assert torch.equal(parts.sort().values, getattr(whole.layers[0], name).flatten().sort().values), name
    rows = torch.cat([shard.embedding for shard in shards])
    assert torch.equal(rows[:vocab_size], whole.embedding)
    assert not rows[vocab_size:].any()


@pytest.mark.parametrize("num_ranks", [3, 16])
def test_ranks_that_do_not_divide_the_heads_are_refused(num_ranks):
    with pytest.raises(ValueError, match="the number of ranks must divide num_"):
        shard_of(find_model("Qwen3-8B"), num_ranks)


def test_ranks_that_nobody_started_are_refused(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(ValueError, match="torchrun --nproc-per-node 2"), joined_ranks(2, device_kind="cpu"):
        pass


def test_a_lone_rank_needs_nobody_and_its_decoder_is_the_whole(load_model):
    model = load_model("qwen3")
    with joined_ranks(1, device_kind="cpu") as ranks:
        decoder = Decoder(model.ours.spec, model.ours.weights, ranks=ranks)
        assert torch.equal(decode(decoder, SPARSE)["logits"], decode(model.ours, SPARSE)["logits"])
