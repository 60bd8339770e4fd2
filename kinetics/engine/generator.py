"""Continuous batching: requests join and leave a batch of fixed size, one token each per step.

Who joins is the scheduler's business, what a step takes the meter's. A request that can never run is refused by itself;
the others go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from kinetics.engine.attention import AttentionSettings, PolicyAttention
from kinetics.engine.decode_step import DecodeBuffers, EagerStep, GraphStep
from kinetics.engine.decoder import Decoder
from kinetics.engine.kv_cache import KvCache, PagedSequence
from kinetics.engine.sampling import sample
from kinetics.engine.scheduler import ActiveRequest, Prompt, Scheduler
from kinetics.engine.step_dtype import cache_dtype
from kinetics.engine.step_meter import StepMeter
from kinetics.specs.generation import Completion, GenerationRequest
from kinetics.specs.policies import num_read
from kinetics_kernels.shapes import num_pages_for


class Generator:
    """One decoder with one cache, generating; fits the `Generate` protocol.

    `max_batch` is the batch every step runs at, idle rows included. `num_pages` of cache besides one page per row.
    With `uses_graph` the step is captured in a CUDA graph. `observe` is told after each step how many tokens it drew.
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
        meter: StepMeter | None = None,
    ) -> None:
        device, dtype = decoder.weights.embedding.device, decoder.weights.embedding.dtype
        max_context = min(decoder.spec.max_position, max_context or decoder.spec.max_position)
        self._decoder, self._settings, self._max_batch = decoder, settings, max_batch
        self.cache = KvCache(
            decoder.spec.model,
            num_pages=num_pages + max_batch,
            page_size=page_size,
            device=device,
            dtype=cache_dtype(dtype, device),
            summary_kind=settings.needed_summary,
        )
        self._buffers = DecodeBuffers.empty(
            idle_pages=self.cache.allocator.allocate(max_batch),
            max_pages=num_pages_for(max_context, page_size),
            device=device,
        )
        step_kind = GraphStep if uses_graph else EagerStep
        self._step = step_kind(decoder, self._buffers, PolicyAttention(self.cache, settings))
        self._scheduler = Scheduler(
            self.cache, max_batch=max_batch, num_pages=num_pages, max_context=max_context, prefill=self._prefill
        )
        self._observe, self._meter = observe, meter or StepMeter()

    def __call__(self, requests: Iterable[GenerationRequest]) -> Iterator[Completion]:
        """One completion per request, each as soon as it is whole."""
        waiting: deque[GenerationRequest] = deque()
        for request in requests:
            if refusal := self._refusal(request):
                yield Completion.refused(request.request_id, refusal)
            else:
                waiting.append(request)
        try:
            while waiting or self._scheduler.rows:
                for active, logits in self._scheduler.admit(waiting):
                    _draw(logits[None], [active])
                yield from self._finished()
                if self._scheduler.rows:
                    self._advance()
                    yield from self._finished()
        finally:
            self._scheduler.release_all()

    def _refusal(self, request: GenerationRequest) -> str | None:
        prompt, vocab_size = request.prompt_token_ids, self._decoder.spec.model.vocab_size
        if not all(0 <= token < vocab_size for token in prompt):
            return f"prompt tokens must lie in 0..{vocab_size - 1}, got {min(prompt)}..{max(prompt)}"
        return self._scheduler.refusal(request)

    def _prefill(self, prompt: Prompt, sequence: PagedSequence) -> torch.Tensor:
        token_ids = torch.tensor(prompt, device=self._buffers.token_ids.device)
        return self._decoder.prefill(token_ids, self.cache, sequence, backend=self._settings.backend)

    def _advance(self) -> None:
        """One step: every running request writes its last token to the cache and draws the next."""
        rows = self._scheduler.rows
        self._meter.start()
        for active in rows.values():
            self.cache.reserve(active.sequence, 1)
            active.sequence.num_tokens += 1
        self._buffers.fill(
            {row: active.sequence for row, active in rows.items()},
            {row: active.token_ids[-1] for row, active in rows.items()},
        )
        _draw(self._step()[list(rows)], list(rows.values()))
        step = self._meter.stop(keys_read=self._mean_keys_read(rows.values()))
        for active in rows.values():
            active.used.add(step)
        if self._observe is not None:
            self._observe(len(rows))

    def _mean_keys_read(self, running: Iterable[ActiveRequest]) -> float:
        keys_read = (num_read(self._settings.policy, active.sequence.num_tokens) for active in running)
        return sum(keys_read) / self._max_batch

    def _finished(self) -> Iterator[Completion]:
        for row, active in list(self._scheduler.rows.items()):
            finish = active.finish(self._decoder.spec.eos_token_ids)
            if finish is not None:
                self._scheduler.leave(row)
                yield Completion(
                    request_id=active.request.request_id,
                    token_ids=tuple(active.token_ids),
                    finish=finish,
                    usage=active.used.usage(len(active.token_ids), counts_joules=self._meter.counts_joules),
                )


def _draw(logits: torch.Tensor, running: Sequence[ActiveRequest]) -> None:
    """Append to each request the token drawn from its row of logits [num_running, vocab_size]."""
    tokens = sample(
        logits,
        [one.request.sampling for one in running],
        [one.request.seed for one in running],
        [len(one.token_ids) for one in running],
    )
    for one, token in zip(running, tokens, strict=True):
        one.token_ids.append(token)
