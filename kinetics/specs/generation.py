"""What it means to generate: requests in, completions out, and the one function an engine offers for it.

Pure nouns. Whoever needs text depends on `Generate`, never on an engine; tokenising lives outside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

MAX_GENERATED: Final = 30767
"""Longest answer in the paper's traces: the cap of 30,768 counts one token that is never stored, though the paper says
32,768. Generation budgets of 30,720 and 32,768 therefore differ by 47 tokens at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSettings:
    """How a token is drawn. Temperature 0 is greedy; top_k 0 and top_p 1 leave nothing out.

    Applied in this order: temperature, the `top_k` likeliest tokens, then the likeliest that together reach `top_p`.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        if not self.temperature >= 0.0:
            raise ValueError(f"temperature must not be negative, got {self.temperature}; 0 is greedy")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p must lie in (0, 1], got {self.top_p}; 1 leaves nothing out")
        if self.top_k < 0:
            raise ValueError(f"top_k must not be negative, got {self.top_k}; 0 leaves nothing out")


@dataclass(frozen=True, slots=True, kw_only=True)
class RepetitionRule:
    """An answer goes in circles if its last `window` tokens are `copies` or more copies of one stretch of tokens.

    Looked at every `window` / 8 tokens of the answer, counted from its start, so that the verdict depends on nothing
    else.
    """

    window: int = 512
    copies: int = 4

    def __post_init__(self) -> None:
        if not 2 <= self.copies <= self.window:
            raise ValueError(
                f"a repetition needs at least 2 copies within its window, got {self.copies} in {self.window} tokens"
            )

    def is_met(self, token_ids: Sequence[int]) -> bool:
        """Whether generation ends here."""
        if len(token_ids) < self.window or len(token_ids) % max(1, self.window // 8):
            return False
        return _smallest_period(token_ids[-self.window :]) * self.copies <= self.window


def _smallest_period(tokens: Sequence[int]) -> int:
    """Length of the shortest stretch whose copies, the last possibly cut, are these tokens.

    Source: the prefix function of Knuth, Morris and Pratt (1977); linear in the number of tokens.
    """
    prefix = [0] * len(tokens)
    matched = 0
    for i in range(1, len(tokens)):
        while matched and tokens[i] != tokens[matched]:
            matched = prefix[matched - 1]
        matched += tokens[i] == tokens[matched]
        prefix[i] = matched
    return len(tokens) - prefix[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One trial of one prompt. The same request gives the same tokens, whatever runs beside it."""

    request_id: str
    prompt_token_ids: tuple[int, ...]
    max_new_tokens: int
    sampling: SamplingSettings
    seed: int
    repetition: RepetitionRule | None = None


class FinishReason(Enum):
    """Why a completion ends where it ends."""

    STOP = "stop"
    """The model said so."""
    LENGTH = "length"
    """It reached the request's cap."""
    REPETITION = "repetition"
    """It went in circles, by the request's rule."""
    REFUSED = "refused"
    """The engine cannot run this request; nothing was generated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeUsage:
    """What decoding one answer took; None is what nobody told.

    `num_tokens`: generated, the stop token included. `decode_s` sums the seconds of the decode steps that the answer
    was part of, each counted whole: divided by the batch they are its share; of a server, the seconds from asking to
    the whole answer. `keys_read`: the mean over those steps of the keys and summary vectors that a row of the batch
    read, idle rows counted as none. `energy_j`: joules that the device used in those steps, each counted whole.
    """

    num_tokens: int
    decode_s: float | None = None
    keys_read: float | None = None
    energy_j: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What came of a request: its tokens, the stop token included, what they took, and why there are no more.

    `token_ids` is None where they were not told. `reason` says in words why a request was refused; empty otherwise.
    """

    request_id: str
    token_ids: tuple[int, ...] | None
    finish: FinishReason
    usage: DecodeUsage
    reason: str = ""

    def __post_init__(self) -> None:
        if self.token_ids is not None and len(self.token_ids) != self.usage.num_tokens:
            raise ValueError(
                f"a completion must use as many tokens as it holds, got {self.usage.num_tokens} and "
                f"{len(self.token_ids)} of {self.request_id}"
            )

    @classmethod
    def refused(cls, request_id: str, reason: str) -> Completion:
        """The completion of a request that was not run."""
        usage = DecodeUsage(num_tokens=0, decode_s=0.0)
        return cls(request_id=request_id, token_ids=(), finish=FinishReason.REFUSED, usage=usage, reason=reason)


class Generate(Protocol):
    """Answer requests, each completion as soon as it is whole, in any order; one refused does not stop the others."""

    def __call__(self, requests: Iterable[GenerationRequest]) -> Iterator[Completion]:
        """One completion per request."""
