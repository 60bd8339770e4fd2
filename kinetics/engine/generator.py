"""Continuous batching: requests join and leave a batch of fixed size, one token each per step.

A request is let in only when the cache can hold all it may ever write, so none is ever thrown out again. Trials of
one prompt share its pages. A request that can never run is refused by itself; the others go on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch

from kinetics.engine.attention import AttentionSettings, PolicyAttention
from kinetics.engine.decode_step import DecodeBuffers, EagerStep, GraphStep
from kinetics.engine.decoder import Decoder
from kinetics.engine.kv_cache import KvCache, PagedSequence
from kinetics.engine.sampling import sample
from kinetics.engine.step_dtype import cache_dtype
from kinetics.specs.generation import Completion, FinishReason, GenerationRequest
from kinetics.specs.policies import num_read
from kinetics_kernels.shapes import num_pages_for

Prompt = tuple[int, ...]


@dataclass(slots=True, kw_only=True)
class _SharedPrompt:
    """A prompt that was prefilled once: its pages, the logits after it, and how many requests still count on it."""

    sequence: PagedSequence
    logits: torch.Tensor
    num_users: int


@dataclass(slots=True, kw_only=True)
class _Running:
    request: GenerationRequest
    sequence: PagedSequence
    num_reserved_pages: int
    token_ids: list[int] = field(default_factory=list)
    decode_s: float = 0.0
    row_keys_sum: float = 0.0
    device_j: float = 0.0

    def finish(self, eos_token_ids: tuple[int, ...]) -> FinishReason | None:
        """Why there is no next token; None if there is one."""
        request = self.request
        if self.token_ids[-1] in eos_token_ids:
            return FinishReason.STOP
        if len(self.token_ids) >= request.max_new_tokens:
            return FinishReason.LENGTH
        is_circling = request.repetition is not None and request.repetition.is_met(self.token_ids)
        return FinishReason.REPETITION if is_circling else None


class Generator:
    """One decoder with one cache, generating; fits the `Generate` protocol.

    `max_batch` is the batch every step runs at, idle rows included. `num_pages` of cache besides one page per row.
    With `uses_graph` the step is captured in a CUDA graph. `observe` is told after each step how many tokens it drew.
    `read_j` is the device's counter of joules.
    """

    def __init__(
        self,
        decoder: Decoder,
        *,
        settings: AttentionSettings,
        max_batch: int,
        num_pages: int,
        page_size: int = 16,
        max_context: int | None = None,
        uses_graph: bool = False,
        observe: Callable[[int], None] | None = None,
        read_j: Callable[[], float] | None = None,
    ) -> None:
        device, dtype = decoder.weights.embedding.device, decoder.weights.embedding.dtype
        self._decoder, self._settings = decoder, settings
        self._max_context = min(decoder.spec.max_position, max_context or decoder.spec.max_position)
        self.cache = KvCache(
            decoder.spec.model,
            num_pages=num_pages + max_batch,
            page_size=page_size,
            device=device,
            dtype=cache_dtype(dtype, device),
            summary_kind=settings.needed_summary,
        )
        idle_pages = self.cache.allocator.allocate(max_batch)
        self._num_unreserved = num_pages
        max_pages = num_pages_for(self._max_context, page_size)
        self._buffers = DecodeBuffers.empty(idle_pages=idle_pages, max_pages=max_pages, device=device)
        step_kind = GraphStep if uses_graph else EagerStep
        self._step = step_kind(decoder, self._buffers, PolicyAttention(self.cache, settings))
        self._prompts: dict[Prompt, _SharedPrompt] = {}
        self._rows: dict[int, _Running] = {}
        self._max_batch = max_batch
        self._observe, self._read_j = observe, read_j

    def __call__(self, requests: Iterable[GenerationRequest]) -> Iterator[Completion]:
        """One completion per request, each as soon as it is whole."""
        waiting: deque[GenerationRequest] = deque()
        for request in requests:
            if refusal := self._refusal(request):
                yield Completion(
                    request_id=request.request_id, token_ids=(), finish=FinishReason.REFUSED, reason=refusal
                )
            else:
                waiting.append(request)
        try:
            while waiting or self._rows:
                self._admit(waiting)
                yield from self._finished()
                if self._rows:
                    self._advance()
                    yield from self._finished()
        finally:
            self._drop_all()

    def _refusal(self, request: GenerationRequest) -> str | None:
        """Why this request can never run here; None if it can."""
        prompt, vocab_size = request.prompt_token_ids, self._decoder.spec.model.vocab_size
        longest = len(prompt) + request.max_new_tokens
        if not prompt or request.max_new_tokens < 1:
            return f"a request needs a prompt and room for a token, got {len(prompt)} and {request.max_new_tokens}"
        if not all(0 <= token < vocab_size for token in prompt):
            return f"prompt tokens must lie in 0..{vocab_size - 1}, got {min(prompt)}..{max(prompt)}"
        if longest > self._max_context:
            return (
                f"prompt and answer must fit {self._max_context} tokens, got {len(prompt)} + {request.max_new_tokens}"
            )
        needed = self._prompt_pages(prompt) + self._own_pages(request)
        total = self.cache.allocator.num_pages - self._max_batch
        return f"the request may need {needed} cache pages, the cache has {total}" if needed > total else None

    def _admit(self, waiting: deque[GenerationRequest]) -> None:
        """Let requests in, in order, while there is a row and the pages they may ever need."""
        while waiting and len(self._rows) < self._max_batch:
            request = waiting[0]
            prompt = request.prompt_token_ids
            is_new = prompt not in self._prompts
            needed = self._own_pages(request) + (self._prompt_pages(prompt) if is_new else 0)
            if needed > self._num_unreserved:
                self._drop_idle_prompts(but=prompt)
            if needed > self._num_unreserved:
                return
            self._num_unreserved -= needed
            if is_new:
                num_users = sum(other.prompt_token_ids == prompt for other in waiting)
                self._prompts[prompt] = self._prefilled(prompt, num_users=num_users)
            waiting.popleft()
            self._start(request, self._prompts[prompt])

    def _prefilled(self, prompt: Prompt, *, num_users: int) -> _SharedPrompt:
        sequence = PagedSequence()
        token_ids = torch.tensor(prompt, device=self._buffers.token_ids.device)
        logits = self._decoder.prefill(token_ids, self.cache, sequence, backend=self._settings.backend)
        return _SharedPrompt(sequence=sequence, logits=logits, num_users=num_users)

    def _start(self, request: GenerationRequest, prompt: _SharedPrompt) -> None:
        row = next(row for row in range(self._max_batch) if row not in self._rows)
        running = _Running(
            request=request,
            sequence=self.cache.fork(prompt.sequence),
            num_reserved_pages=self._own_pages(request),
        )
        self._rows[row] = running
        self._draw(prompt.logits[None], [running])

    def _advance(self) -> None:
        """One step: every running request writes its last token to the cache and draws the next."""
        started_j = self._joules()  # before the clock: asking takes time, too
        started_s = time.perf_counter()
        for running in self._rows.values():
            self.cache.reserve(running.sequence, 1)
            running.sequence.num_tokens += 1
        self._buffers.fill(
            {row: running.sequence for row, running in self._rows.items()},
            {row: running.token_ids[-1] for row, running in self._rows.items()},
        )
        logits = self._step()
        self._draw(logits[list(self._rows)], list(self._rows.values()))
        step_s, step_j = time.perf_counter() - started_s, self._joules() - started_j
        contexts = [running.sequence.num_tokens for running in self._rows.values()]
        row_keys = sum(num_read(self._settings.policy, context) for context in contexts) / self._max_batch
        for running in self._rows.values():
            running.decode_s += step_s
            running.device_j += step_j
            running.row_keys_sum += row_keys
        if self._observe is not None:
            self._observe(len(self._rows))

    def _joules(self) -> float:
        return self._read_j() if self._read_j else 0.0

    def _draw(self, logits: torch.Tensor, running: list[_Running]) -> None:
        tokens = sample(
            logits,
            [one.request.sampling for one in running],
            [one.request.seed for one in running],
            [len(one.token_ids) for one in running],
        )
        for one, token in zip(running, tokens, strict=True):
            one.token_ids.append(token)

    def _finished(self) -> Iterator[Completion]:
        for row, running in list(self._rows.items()):
            finish = running.finish(self._decoder.spec.eos_token_ids)
            if finish is not None:
                self._leave(row)
                yield Completion(
                    request_id=running.request.request_id,
                    token_ids=tuple(running.token_ids),
                    finish=finish,
                    decode_s=running.decode_s,
                    row_keys=running.row_keys_sum / max(1, len(running.token_ids) - 1),
                    device_j=running.device_j if self._read_j else None,
                )

    def _leave(self, row: int) -> None:
        """Free a row, its pages, and its prompt if nobody else counts on it."""
        running = self._rows.pop(row)
        self.cache.release(running.sequence)
        self._num_unreserved += running.num_reserved_pages
        key = running.request.prompt_token_ids
        prompt = self._prompts[key]
        prompt.num_users -= 1
        if prompt.num_users == 0:
            self._drop_prompt(key)

    def _drop_idle_prompts(self, *, but: Prompt) -> None:
        """Let go of prompts that only waiting requests count on; they are computed anew when their turn comes."""
        running = {one.request.prompt_token_ids for one in self._rows.values()}
        for key in [key for key in self._prompts if key != but and key not in running]:
            self._drop_prompt(key)

    def _drop_prompt(self, key: Prompt) -> None:
        self.cache.release(self._prompts.pop(key).sequence)
        self._num_unreserved += self._prompt_pages(key)

    def _drop_all(self) -> None:
        """Forget what a caller that stopped listening left behind."""
        for row in list(self._rows):
            self._leave(row)
        for key in list(self._prompts):
            self._drop_prompt(key)

    def _prompt_pages(self, prompt: Prompt) -> int:
        return num_pages_for(len(prompt), self.cache.page_size)

    def _own_pages(self, request: GenerationRequest) -> int:
        """Pages one trial may fill besides the full pages of its prompt, which it shares.

        The last token drawn is never written.
        """
        written = len(request.prompt_token_ids) + request.max_new_tokens - 1
        num_shared = len(request.prompt_token_ids) // self.cache.page_size
        return num_pages_for(written, self.cache.page_size) - num_shared
