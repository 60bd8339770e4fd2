"""What a miniature learns from: batches of whole solutions, what each token of them is, and how much it counts.

All rows of a batch have the same number of misses and so the same layout; nothing is padded. The batch of a step is a
function of the seed and the step alone, so that training can stop and go on anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from random import Random
from typing import Final

import torch

from kinetics.mini.contest import (
    ANSWER_SYMBOLS,
    ATTEMPT_SYMBOLS,
    HIT_RATE,
    NUM_TEST_SEEDS,
    PROMPT_SYMBOLS,
    make_problem,
    solution_length,
    write_solution,
)
from kinetics.mini.tokenizer import TOKEN_IDS

FIRST_TRAINING_SEED: Final = NUM_TEST_SEEDS
NUM_TRAINING_SEEDS: Final = 10**9


class TokenKind(IntEnum):
    """What a token of a prompt and its solution is."""

    PROMPT = 0
    FIRST_NAME = 1
    FIRST_DIGIT = 2
    PLUS = 3
    SECOND_NAME = 4
    SECOND_DIGIT = 5
    SUM = 6
    TARGET = 7
    MISS = 8
    HIT = 9
    ANSWER = 10


_WEIGHTS: Final = {
    TokenKind.PROMPT: 0.0,
    # Names are drawn: there is little to learn from them but that they are.
    TokenKind.FIRST_NAME: 0.2,
    TokenKind.SECOND_NAME: 0.2,
    TokenKind.PLUS: 0.2,
    # Adding is learned last, from few tokens.
    TokenKind.SUM: 3.0,
    # One verdict in a long solution says yes.
    TokenKind.HIT: 4.0,
}
_ATTEMPT_KINDS: Final = (
    TokenKind.FIRST_NAME, TokenKind.FIRST_DIGIT, TokenKind.PLUS, TokenKind.SECOND_NAME, TokenKind.SECOND_DIGIT,
    TokenKind.SUM, TokenKind.TARGET, TokenKind.MISS,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Solutions to learn from. token_ids: int64 [rows, length]; the rest: [length], the same for all rows.

    `positions` leave a gap behind the problem where a solution stands for the end of a longer one.
    """

    token_ids: torch.Tensor
    positions: torch.Tensor
    kinds: torch.Tensor
    weights: torch.Tensor


def draw_batch(*, seed: int, step: int, max_misses: int, num_tokens: int, max_gap: int = 0) -> Batch:
    """The batch of a step: so many tokens in rows of one length, with any number of misses up to the most.

    Behind the problem up to `max_gap` attempts are left out of each row; its positions count them all the same.
    """
    rng = Random(f"{seed}/{step}")  # noqa: S311 - nothing secret
    num_misses, gap = rng.randint(0, max_misses), rng.randint(0, max_gap)
    num_rows = max(1, num_tokens // (PROMPT_SYMBOLS + solution_length(num_misses)))
    positions = torch.arange(PROMPT_SYMBOLS + solution_length(num_misses))
    return Batch(
        token_ids=torch.tensor([_draw_row(rng, num_misses) for _ in range(num_rows)]),
        positions=positions + gap * ATTEMPT_SYMBOLS * (positions >= PROMPT_SYMBOLS),
        kinds=token_kinds(num_misses),
        weights=token_weights(num_misses, max_misses=max_misses),
    )


def token_kinds(num_misses: int) -> torch.Tensor:
    """The kind of each token of a prompt and a solution with so many misses, int64 [length]."""
    kinds = [TokenKind.PROMPT] * PROMPT_SYMBOLS + list(_ATTEMPT_KINDS) * (num_misses + 1)
    kinds[-1] = TokenKind.HIT
    return torch.tensor(kinds + [TokenKind.ANSWER] * ANSWER_SYMBOLS)


def token_weights(num_misses: int, *, max_misses: int) -> torch.Tensor:
    """How much each token counts, [length].

    Every batch ends in a hit, all numbers of misses are equally likely; left alone, that would teach that late pairs
    fit more often than early ones. The names of the hit are weighed so that at each place of a solution the pair
    that fits weighs against the others as in the writer's own draw.
    """
    kinds = token_kinds(num_misses)
    weights = torch.tensor([_WEIGHTS.get(kind, 1.0) for kind in TokenKind])[kinds]
    hit = PROMPT_SYMBOLS + ATTEMPT_SYMBOLS * num_misses
    names = [hit + place for place, kind in enumerate(_ATTEMPT_KINDS) if kind in _NAMES]
    weights[names] *= (max_misses - num_misses) * HIT_RATE / (1 - HIT_RATE)
    return weights


_NAMES: Final = (TokenKind.FIRST_NAME, TokenKind.SECOND_NAME)


def _draw_row(rng: Random, num_misses: int) -> list[int]:
    problem = make_problem(rng.randrange(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + NUM_TRAINING_SEEDS))
    symbols = (*problem.symbols, *write_solution(problem, rng, num_misses=num_misses))
    return [TOKEN_IDS[symbol] for symbol in symbols]
