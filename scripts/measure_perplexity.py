"""Perplexity of a model under dense and sparse decode attention: what sinks and the summary of a page are worth.

    python scripts/measure_perplexity.py MODEL_FOLDER code.py prose.txt [--context 2k --kept 256 --scored 256]

MODEL_FOLDER holds safetensors, config.json and a tokenizer, as Hugging Face saves them; texts are any UTF-8 files. Of
each text, pieces of `--context` tokens are prefilled with every key attended; the `--scored` tokens behind them are fed
one by one through decode steps of each policy, and their mean negative log-likelihood is taken. Every policy keeps
`--kept` keys, local ones among them, besides its sinks and the current page. Prints a Markdown table, one column a
text; float32, on the CPU.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import torch

from kinetics.engine.attention import AttentionSettings, DecodeBatch, PolicyAttention
from kinetics.engine.checkpoint import load_weights, read_spec
from kinetics.engine.decoder import Decoder
from kinetics.engine.kv_cache import KvCache, PagedSequence
from kinetics.samples.prompts import PlainEncoder
from kinetics.specs.counts import read_count
from kinetics.specs.policies import AttentionPolicy, BlockSummary, BlockTopK, Dense, policy_label
from kinetics_kernels.shapes import num_pages_for

PAGE_SIZE: Final = 16
LOCAL: Final = 64


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the options, score every text under every policy, print a row a policy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--context", type=_count, default=2048, help="tokens prefilled")
    parser.add_argument("--kept", type=_count, default=256, help="keys kept, a multiple of 16 above 64")
    parser.add_argument("--scored", type=_count, default=256, help="tokens scored behind each piece")
    parser.add_argument("--pieces", type=_count, default=4, help="of each text, the first so many")
    options = parser.parse_args(arguments)
    try:
        _print_table(options)
    except (OSError, ValueError) as error:
        parser.error(str(error))


def policies(kept: int) -> list[AttentionPolicy]:
    """Dense; block top-k by means and by bounds, without and with one sink page; by means with local keys instead.

    Raises: ValueError if so many keys are no whole pages besides the local ones.
    """
    if kept % PAGE_SIZE or kept <= LOCAL:
        raise ValueError(f"--kept must be a multiple of {PAGE_SIZE} above {LOCAL}, got {kept}")

    def block(summary: BlockSummary, *, num_local: int = 0, num_sink_tokens: int = 0) -> BlockTopK:
        return BlockTopK(
            block_size=PAGE_SIZE,
            top_blocks=(kept - num_local) // PAGE_SIZE,
            num_local=num_local,
            num_sink_tokens=num_sink_tokens,
            keeps_partial_block=True,
            summary=summary,
        )

    return [
        Dense(),
        block(BlockSummary.MEAN),
        block(BlockSummary.MEAN, num_sink_tokens=PAGE_SIZE),
        block(BlockSummary.MEAN, num_local=LOCAL),
        block(BlockSummary.MIN_MAX),
        block(BlockSummary.MIN_MAX, num_sink_tokens=PAGE_SIZE),
    ]


def perplexity(decoder: Decoder, pieces: torch.Tensor, policy: AttentionPolicy, *, context: int) -> float:
    """Of the tokens from `context` on, each fed through one decode step; pieces: int64 [num_pieces, num_tokens]."""
    settings = AttentionSettings(policy=policy, num_splits=1)
    pages_each = num_pages_for(pieces.shape[1], PAGE_SIZE)
    cache = KvCache(
        decoder.spec.model,
        num_pages=pages_each * len(pieces),
        page_size=PAGE_SIZE,
        device="cpu",
        dtype=torch.float32,
        summary_kind=settings.needed_summary,
    )
    attention, sequences = PolicyAttention(cache, settings), [PagedSequence() for _ in pieces]
    prompts = [(piece[:context], sequence) for piece, sequence in zip(pieces, sequences, strict=True)]
    logits = torch.stack([decoder.prefill(prompt, cache, sequence) for prompt, sequence in prompts])
    losses = []
    for place in range(context, pieces.shape[1]):
        token_ids = pieces[:, place]
        losses.append(torch.nn.functional.cross_entropy(logits.float(), token_ids))
        if place + 1 < pieces.shape[1]:
            logits = decoder.decode(token_ids, _next_batch(cache, sequences), attention)
    return math.exp(torch.stack(losses).mean().item())


def _next_batch(cache: KvCache, sequences: Sequence[PagedSequence]) -> DecodeBatch:
    for sequence in sequences:
        cache.reserve(sequence, 1)
        sequence.num_tokens += 1
    return DecodeBatch(
        block_table=torch.tensor([sequence.pages for sequence in sequences], dtype=torch.int32),
        seq_lens=torch.tensor([sequence.num_tokens for sequence in sequences], dtype=torch.int32),
    )


def _print_table(options: argparse.Namespace) -> None:
    asked = policies(options.kept)
    spec = read_spec(options.model, name=options.model.resolve().name)
    encoder = PlainEncoder(options.model)
    texts = [_pieces(path, encoder, options) for path in options.texts]
    if options.context + options.scored > spec.max_position:
        raise ValueError(
            f"--context + --scored must be at most the model's {spec.max_position} tokens, got "
            f"{options.context} + {options.scored}"
        )
    weights = load_weights(options.model, spec.model, device="cpu", dtype=torch.float32)
    decoder = Decoder(spec, weights)
    print(f"| attention | {' | '.join(path.name for path in options.texts)} |\n|{' --- |' * (1 + len(texts))}")
    for policy in asked:
        found = [perplexity(decoder, pieces, policy, context=options.context) for pieces in _told(texts, policy)]
        print(f"| `{policy_label(policy)}` | {' | '.join(f'{value:.2f}' for value in found)} |", flush=True)


def _pieces(path: Path, encoder: PlainEncoder, options: argparse.Namespace) -> torch.Tensor:
    """The first whole pieces of a text, one after the other: int64 [num_pieces, context + scored]."""
    length = options.context + options.scored
    tokens = encoder.encode(path.read_text(encoding="utf-8"))
    num_pieces = min(options.pieces, len(tokens) // length)
    if not num_pieces or options.context < 1 or options.scored < 1:
        raise ValueError(f"{path}: must hold --context + --scored = {length} tokens, both above 0, got {len(tokens)}")
    return torch.tensor(tokens[: num_pieces * length]).view(num_pieces, length)


def _told(texts: Sequence[torch.Tensor], policy: AttentionPolicy) -> Iterator[torch.Tensor]:
    for number, pieces in enumerate(texts, 1):
        print(f"{policy_label(policy)}: text {number} of {len(texts)}", file=sys.stderr)
        yield pieces


def _count(text: str) -> int:
    found = read_count(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"must be a count such as 256 or 2k, got {text[:20]!r}")
    return found


if __name__ == "__main__":
    main()
