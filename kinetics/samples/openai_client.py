"""Answers from any server that speaks the OpenAI chat protocol: vLLM, SGLang, `transformers serve`.

The server owns the chat template, the tokenizer and the seed; it reports token counts. It is sent only what it
accepts: a field that it rejects by name is left out and the run says so. Too many requests, server errors and silence
are tried again with growing pauses by the `openai` client; an answer that is no answer is tried again here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, Final

from kinetics.distribution import install_command
from kinetics.samples.answers import Answer
from kinetics.samples.log_writer import LostWork
from kinetics.samples.prompts import PromptStyle
from kinetics.samples.trials import Trial
from kinetics.specs.generation import Completion, DecodeUsage, FinishReason, SamplingSettings

DEFAULT_RETRIES: Final = 6
_MAX_PAUSE_S: Final = 8.0
_FINISHES: Final = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}
_OPTIONAL: Final = ("top_k", "seed", "top_p")
"""Fields a server may reject by name, the least common first."""
_REJECTED: Final = (400, 422)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where the server is and how patiently it is asked. `timeout_s` bounds one answer."""

    base_url: str
    model: str
    concurrency: int
    timeout_s: float
    max_retries: int = DEFAULT_RETRIES
    api_key: str = "none"


class OpenAiAnswers:
    """Answers from a server, at most `concurrency` at once.

    Asks the server for one token first, to learn which fields it accepts: `accepted` are those then sent.

    Raises: ValueError without the package; LostWork if the server cannot be used.
    """

    def __init__(self, server: Server, *, style: PromptStyle, max_new_tokens: int, sampling: SamplingSettings) -> None:
        try:
            import openai
        except ImportError as error:
            raise ValueError(f"--engine openai needs the client; {install_command('openai')}") from error
        self._openai: Any = openai
        self._server, self._style = server, style
        self._max_new_tokens = max_new_tokens
        self._client: Any = openai.OpenAI(
            base_url=server.base_url, api_key=server.api_key, timeout=server.timeout_s, max_retries=server.max_retries
        )
        wanted = {"top_k": sampling.top_k, "top_p": sampling.top_p, "temperature": sampling.temperature, "seed": 0}
        self.accepted, self.rejected = self._negotiate(wanted if sampling.top_k else _without(wanted, "top_k"))

    def __call__(self, trials: Sequence[Trial]) -> Iterator[Answer]:
        """One answer per trial, in the order in which they arrive.

        Raises: LostWork if the server no longer gives usable answers, after what was on its way has been yielded.
        """
        pool = ThreadPoolExecutor(self._server.concurrency)
        try:
            left = {pool.submit(self._ask, trial) for trial in trials}
            for future in as_completed(tuple(left)):
                left.remove(future)
                try:
                    answer = future.result()
                except LostWork:
                    pool.shutdown(wait=True, cancel_futures=True)
                    yield from (one.result() for one in left if not one.cancelled() and one.exception() is None)
                    raise
                yield answer
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _negotiate(self, wanted: dict[str, float]) -> tuple[dict[str, float], tuple[str, ...]]:
        """The fields the server takes, and those it rejects by name."""
        rejected: list[str] = []
        while True:
            try:
                self._complete("1 + 1 =", wanted, max_tokens=1)
            except self._openai.APIStatusError as error:
                named = [field for field in _OPTIONAL if field in wanted and field in error.response.text]
                if error.status_code not in _REJECTED or not named:
                    raise self._lost(error) from error
                rejected.append(named[0])
                wanted = _without(wanted, named[0])
            else:
                return wanted, tuple(rejected)

    def _ask(self, trial: Trial) -> Answer:
        fields = dict(self.accepted)
        if "seed" in fields:
            fields["seed"] = trial.seed
        started_s = time.perf_counter()
        try:
            answer = self._complete(self._style.text(trial.problem.text), fields, max_tokens=self._max_new_tokens)
        except self._openai.APIStatusError as error:
            if error.status_code in _REJECTED:  # this request, for one: its prompt may be too long
                return _refused(trial, _reason(error))
            raise self._lost(error) from error
        except _UnusableAnswerError as error:  # the server is well, but has no answer to this
            return _refused(trial, str(error))
        usage = DecodeUsage(num_tokens=answer.generated_tokens, decode_s=time.perf_counter() - started_s)
        completion = Completion(request_id=trial.request_id, token_ids=None, finish=answer.finish, usage=usage)
        return Answer(trial=trial, text=answer.text, prompt_tokens=answer.prompt_tokens, completion=completion)

    def _complete(self, prompt: str, fields: dict[str, float], *, max_tokens: int) -> _ServerAnswer:
        """One answer; what is no answer is asked for again.

        Raises: openai.APIStatusError for a status that trying again does not mend; _UnusableAnswerError for an answer
        cut short for a reason of the server's own; LostWork for everything else.
        """
        extra = {"top_k": fields["top_k"]} if "top_k" in fields else {}
        complaint: Exception | None = None
        for attempt in range(self._server.max_retries + 1):
            if attempt:
                time.sleep(min(_MAX_PAUSE_S, 0.25 * 2.0**attempt))
            try:
                found = self._client.chat.completions.create(
                    model=self._server.model,
                    messages=[{"role": "user", "content": prompt}],
                    max_tokens=max_tokens,
                    extra_body=extra,
                    **_without(fields, "top_k"),
                )
                return _parse(found, max_tokens=max_tokens)
            except self._openai.APIStatusError:
                raise
            except self._openai.APIConnectionError as error:  # a timeout is one; the client has tried again already
                raise self._lost(error) from error
            except (self._openai.APIError, ValueError) as error:
                complaint = error
        assert complaint is not None
        if isinstance(complaint, _UnusableAnswerError):
            raise complaint
        raise self._lost(complaint)

    def _lost(self, error: Exception) -> LostWork:
        return LostWork(
            f"{self._server.base_url}: the server must answer for {self._server.model}, got {_reason(error)}; "
            "finished samples are safe: mend it and run again with --resume"
        )


class _UnusableAnswerError(ValueError):
    """A whole answer that ends for a reason that is neither the model's nor the cap's, such as a content filter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _ServerAnswer:
    text: str
    finish: FinishReason
    prompt_tokens: int
    generated_tokens: int


def _parse(found: Any, *, max_tokens: int) -> _ServerAnswer:
    """A chat completion, checked.

    Raises: ValueError if it lacks text or token counts, _UnusableAnswerError if a known finish reason.
    """
    choices, usage = getattr(found, "choices", None), getattr(found, "usage", None)
    if not choices or usage is None:
        raise ValueError(f"an answer must have choices and usage, got {str(found)[:80]!r}")
    message = choices[0].message
    # Servers that split the thinking off put it beside the content.
    thinking = getattr(message, "reasoning_content", None) or ""
    prompt_tokens, generated_tokens = usage.prompt_tokens, usage.completion_tokens
    if not isinstance(prompt_tokens, int) or not isinstance(generated_tokens, int):
        raise ValueError(f"an answer must count its tokens, got {usage!r}")
    finish = FinishReason.LENGTH if generated_tokens >= max_tokens else _FINISHES.get(choices[0].finish_reason)
    if finish is None:
        raise _UnusableAnswerError(f"an answer must end by stop or length, got {choices[0].finish_reason!r}")
    return _ServerAnswer(
        text=thinking + (message.content or ""),
        finish=finish,
        prompt_tokens=prompt_tokens,
        generated_tokens=generated_tokens,
    )


def _reason(error: Exception) -> str:
    """What a server or the client says, in one line; not every server words its errors as the client expects."""
    said = getattr(getattr(error, "response", None), "text", "")
    return " ".join(f"{error} {said if said not in str(error) else ''}".split())[:200] or type(error).__name__


def _refused(trial: Trial, reason: str) -> Answer:
    completion = Completion.refused(trial.request_id, reason)
    return Answer(trial=trial, text="", prompt_tokens=0, completion=completion)


def _without(fields: dict[str, float], name: str) -> dict[str, float]:
    return {key: value for key, value in fields.items() if key != name}
