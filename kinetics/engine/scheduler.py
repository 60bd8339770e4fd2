"""Which requests run and which wait: rows of the batch, pages of the cache, and prompts that trials share.

Decided on the host, from counts alone. A request is let in only when the cache can hold all it may ever write, so none
is ever thrown out again. Trials of one prompt share its pages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch

from kinetics.engine.kv_cache import KvCache, PagedSequence
from kinetics.engine.step_meter import UsageSum
from kinetics.specs.generation import FinishReason, GenerationRequest
from kinetics_kernels.shapes import num_pages_for

Prompt = tuple[int, ...]


@dataclass(slots=True, kw_only=True)
class SharedPrompt:
    """A prompt that was prefilled once: its pages, the logits after it, and how many requests still count on it."""

    sequence: PagedSequence
    logits: torch.Tensor
    num_users: int


@dataclass(slots=True, kw_only=True)
class ActiveRequest:
    """A request in a row of the batch: its tokens so far, its pages, and what its steps took."""

    request: GenerationRequest
    sequence: PagedSequence
    num_reserved_pages: int
    token_ids: list[int] = field(default_factory=list)
    used: UsageSum = field(default_factory=UsageSum)

    def finish(self, eos_token_ids: tuple[int, ...]) -> FinishReason | None:
        """Why there is no next token; None if there is one."""
        request = self.request
        if self.token_ids[-1] in eos_token_ids:
            return FinishReason.STOP
        if len(self.token_ids) >= request.max_new_tokens:
            return FinishReason.LENGTH
        is_circling = request.repetition is not None and request.repetition.is_met(self.token_ids)
        return FinishReason.REPETITION if is_circling else None


class Scheduler:
    """Rows and pages of one cache; `rows` holds the running requests by their place in the batch.

    `num_pages`: those that requests may fill. `prefill` computes a prompt into a sequence and returns the logits after.
    """

    def __init__(
        self,
        cache: KvCache,
        *,
        max_batch: int,
        num_pages: int,
        max_context: int,
        prefill: Callable[[Prompt, PagedSequence], torch.Tensor],
    ) -> None:
        self.rows: dict[int, ActiveRequest] = {}
        self._cache, self._prefill = cache, prefill
        self._max_batch, self._num_pages, self._max_context = max_batch, num_pages, max_context
        self._num_unreserved = num_pages
        self._prompts: dict[Prompt, SharedPrompt] = {}

    def refusal(self, request: GenerationRequest) -> str | None:
        """Why this request can never run here; None if it can."""
        prompt = request.prompt_token_ids
        if not prompt or request.max_new_tokens < 1:
            return f"a request needs a prompt and room for a token, got {len(prompt)} and {request.max_new_tokens}"
        if len(prompt) + request.max_new_tokens > self._max_context:
            return (
                f"prompt and answer must fit {self._max_context} tokens, got {len(prompt)} + {request.max_new_tokens}"
            )
        needed = self._prompt_pages(prompt) + self._own_pages(request)
        if needed > self._num_pages:
            return f"the request may need {needed} cache pages, the cache has {self._num_pages}"
        return None

    def admit(self, waiting: deque[GenerationRequest]) -> Iterator[tuple[ActiveRequest, torch.Tensor]]:
        """Let requests in, in order, while there are rows and pages for them; each with the logits after its prompt."""
        while waiting and len(self.rows) < self._max_batch:
            prompt = waiting[0].prompt_token_ids
            needed = self._own_pages(waiting[0]) + (0 if prompt in self._prompts else self._prompt_pages(prompt))
            if needed > self._num_unreserved:
                self._drop_idle_prompts(but=prompt)
            if needed > self._num_unreserved:
                return
            self._num_unreserved -= needed
            if prompt not in self._prompts:
                self._prompts[prompt] = self._prefilled(waiting)
            yield self._start(waiting.popleft()), self._prompts[prompt].logits

    def leave(self, row: int) -> ActiveRequest:
        """Free a row, its pages, and its prompt if nobody else counts on it; returns who was there."""
        active = self.rows.pop(row)
        self._cache.release(active.sequence)
        self._num_unreserved += active.num_reserved_pages
        key = active.request.prompt_token_ids
        prompt = self._prompts[key]
        prompt.num_users -= 1
        if prompt.num_users == 0:
            self._drop_prompt(key)
        return active

    def release_all(self) -> None:
        """Free every row, page and prompt."""
        for row in list(self.rows):
            self.leave(row)
        for key in list(self._prompts):
            self._drop_prompt(key)

    def _start(self, request: GenerationRequest) -> ActiveRequest:
        row = next(row for row in range(self._max_batch) if row not in self.rows)
        prompt = self._prompts[request.prompt_token_ids]
        self.rows[row] = ActiveRequest(
            request=request,
            sequence=self._cache.fork(prompt.sequence),
            num_reserved_pages=self._own_pages(request),
        )
        return self.rows[row]

    def _prefilled(self, waiting: deque[GenerationRequest]) -> SharedPrompt:
        """The first one's prompt, counted on by all who wait with the same."""
        prompt, sequence = waiting[0].prompt_token_ids, PagedSequence()
        logits = self._prefill(prompt, sequence)
        num_users = sum(other.prompt_token_ids == prompt for other in waiting)
        return SharedPrompt(sequence=sequence, logits=logits, num_users=num_users)

    def _drop_idle_prompts(self, *, but: Prompt) -> None:
        """Let go of prompts that only waiting requests count on; they are computed anew when their turn comes."""
        running = {one.request.prompt_token_ids for one in self.rows.values()}
        for key in [key for key in self._prompts if key != but and key not in running]:
            self._drop_prompt(key)

    def _drop_prompt(self, key: Prompt) -> None:
        self._cache.release(self._prompts.pop(key).sequence)
        self._num_unreserved += self._prompt_pages(key)

    def _prompt_pages(self, prompt: Prompt) -> int:
        return num_pages_for(len(prompt), self._cache.page_size)

    def _own_pages(self, request: GenerationRequest) -> int:
        """Pages one trial may fill besides the full pages of its prompt, which it shares.

        The last token drawn is never written.
        """
        written = len(request.prompt_token_ids) + request.max_new_tokens - 1
        num_shared = len(request.prompt_token_ids) // self._cache.page_size
        return num_pages_for(written, self._cache.page_size) - num_shared
