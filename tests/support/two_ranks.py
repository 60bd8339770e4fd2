"""Run by torchrun: a saved model on every rank's share of it; rank 0 writes logits and greedy tokens to a file."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

from kinetics.engine.attention import AttentionSettings
from kinetics.engine.checkpoint import load_weights, read_spec
from kinetics.engine.decoder import Decoder
from kinetics.engine.tensor_parallel import RankGroup, joined_ranks, shard_weights
from kinetics.specs.shard import shard_of
from tests.support.decoding import Decoding, random_prompts

PROMPT_LENGTHS = (1, 15, 17, 53)
NUM_GREEDY = 24


def shared_decoder(folder: Path, ranks: RankGroup) -> Decoder:
    """One rank's part of the model in a folder."""
    spec = read_spec(folder)
    whole = load_weights(folder, spec.model, device="cpu", dtype=torch.float32)
    weights = shard_weights(whole, spec.model, rank=ranks.rank, num_ranks=ranks.num_ranks)
    shard = replace(spec, model=shard_of(spec.model, ranks.num_ranks))
    return Decoder(shard, weights, ranks=ranks, vocab_size=spec.model.vocab_size)


def decode(decoder: Decoder, settings: AttentionSettings) -> dict[str, torch.Tensor]:
    """Logits after the prompts, and greedy tokens."""
    decoding = Decoding(decoder, random_prompts(PROMPT_LENGTHS, vocab_size=decoder.vocab_size), settings=settings)
    return {"logits": decoding.logits, "tokens": decoding.greedy(NUM_GREEDY)}


def main() -> None:
    torch.set_num_threads(1)
    out, folders = Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]
    with joined_ranks(2, device_kind="cpu") as ranks:
        found = {folder.name: decode(shared_decoder(folder, ranks), AttentionSettings()) for folder in folders}
        if ranks.rank == 0:
            torch.save(found, out)


if __name__ == "__main__":
    main()
