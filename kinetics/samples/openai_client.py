"""Answers from any server that speaks the OpenAI chat protocol: vLLM, SGLang, `transformers serve`.

The server owns the chat template, the tokenizer and the seed; it reports token counts. It is sent only what it
accepts: a field that it rejects by name is left out and the run says so. Too many requests, server errors, silence and
answers that are none are tried again, after the pause that the server asks for or else growing ones; pauses that a
person would notice are said. A server that is silent when asked what it accepts is not asked again. What a server sends
is untrusted: `bounded_client` bounds its size and how long it takes, and here every field is checked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, Final

from kinetics.files.json_text import parse_json, whole_text
from kinetics.files.printable import one_line
from kinetics.samples.answers import Answer
from kinetics.samples.bounded_client import BoundedClient, RedirectError, SilentServerError, StatusError
from kinetics.samples.counts import count, shortened
from kinetics.samples.log_writer import LostWork
from kinetics.samples.prompts import PromptStyle
from kinetics.samples.trials import Trial
from kinetics.specs.generation import Completion, DecodeUsage, FinishReason, SamplingSettings

DEFAULT_RETRIES: Final = 6
_FIRST_PAUSE_S: Final = 0.5
_MAX_PAUSE_S: Final = 8.0
_MAX_ASKED_PAUSE_S: Final = 60.0
"""Of the pauses that a server asks for; it is asked again after so long even if it said longer."""
_SAID_PAUSE_S: Final = 2.0
_FINISHES: Final = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}
_OPTIONAL: Final = ("top_k", "seed", "top_p")
"""Fields a server may reject by name, the least common first."""
_REJECTED: Final = (400, 422)
_TRIED_AGAIN: Final = (408, 409, 429)
_FIRST_SERVER_ERROR: Final = 500


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

    Asks the server for one token first, to learn which fields it accepts: `accepted` are those then sent. `say` is told
    of pauses, in words.

    Raises: ValueError without the package; LostWork if the server cannot be used.
    """

    def __init__(
        self,
        server: Server,
        *,
        style: PromptStyle,
        max_new_tokens: int,
        sampling: SamplingSettings,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._server, self._style = server, style
        self._max_new_tokens = max_new_tokens
        self._client = BoundedClient(server.base_url, api_key=server.api_key, timeout_s=server.timeout_s)
        self._prompt_tokens: dict[str, int] = {}
        self._served_model = ""
        self._pauses = _Pauses(say, server.base_url)
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
        """Hang up; whoever waits for the server stops waiting."""
        self._pauses.end()
        self._client.close()

    def _negotiate(self, wanted: dict[str, float]) -> tuple[dict[str, float], tuple[str, ...]]:
        """The fields the server takes, and those it rejects by name."""
        rejected: list[str] = []
        while True:
            try:
                self._served_model = self._complete("1 + 1 =", wanted, max_tokens=1, waits_again=False).model
            except StatusError as error:
                named = [field for field in _OPTIONAL if field in wanted and field in error.text]
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
        except StatusError as error:
            if error.status_code in _REJECTED:  # this request, for one: its prompt may be too long
                return _refused(trial, _reason(error))
            raise self._lost(error) from error
        except _UnusableAnswerError as error:  # the server is well, but has no answer to this
            return _refused(trial, str(error))
        self._check_counts(trial, answer)
        usage = DecodeUsage(num_tokens=answer.generated_tokens, decode_s=time.perf_counter() - started_s)
        completion = Completion(request_id=trial.request_id, token_ids=None, finish=answer.finish, usage=usage)
        return Answer(trial=trial, text=answer.text, prompt_tokens=answer.prompt_tokens, completion=completion)

    def _check_counts(self, trial: Trial, answer: _ServerAnswer) -> None:
        """A law charges what a server counts: no answer is longer than was asked for, and a question has one prompt.

        And all answers are one model's, by the name that it went by at first, where the server tells.

        Raises: LostWork if the server says otherwise.
        """
        if answer.model and self._served_model and answer.model != self._served_model:
            names = f"{self._served_model[:80]!r} and then {answer.model[:80]!r}"
            raise self._lost(ValueError(f"all answers must be of one model, got {names}"))
        cap, length, prompt_len = self._max_new_tokens, answer.generated_tokens, answer.prompt_tokens
        if length > cap:
            raise self._lost(ValueError(f"an answer must have at most the {cap} tokens asked for, got {length}"))
        before = self._prompt_tokens.setdefault(trial.problem.problem_id, prompt_len)
        if before != prompt_len:
            raise self._lost(ValueError(f"a question must have one prompt, got {before} tokens and {prompt_len}"))

    def _complete(
        self, prompt: str, fields: Mapping[str, float], *, max_tokens: int, waits_again: bool = True
    ) -> _ServerAnswer:
        """One answer; what trying again may mend is asked for again, silence only if `waits_again`.

        Raises: StatusError for a status that trying again does not mend; _UnusableAnswerError for an answer cut short
        for a reason of the server's own; LostWork for everything else.
        """
        for attempt in range(self._server.max_retries + 1):
            try:
                return _parse(parse_json(self._body(prompt, fields, max_tokens=max_tokens)), max_tokens=max_tokens)
            except StatusError as error:
                if error.status_code not in _TRIED_AGAIN and error.status_code < _FIRST_SERVER_ERROR:
                    raise
                complaint: ValueError = error
            except ValueError as error:
                complaint = error
            if isinstance(complaint, RedirectError) or (isinstance(complaint, SilentServerError) and not waits_again):
                break
            if attempt < self._server.max_retries and not self._pauses.pause(attempt, complaint):
                break
        if isinstance(complaint, _UnusableAnswerError):
            raise complaint
        raise self._lost(complaint) from complaint

    def _body(self, prompt: str, fields: Mapping[str, float], *, max_tokens: int) -> bytes:
        """What the server sends.

        Raises: UnansweredError if nothing that can be read.
        """
        return self._client.ask(
            model=self._server.model,
            messages=[{"role": "user", "content": prompt}],
            max_tokens=max_tokens,
            extra_body={"top_k": fields["top_k"]} if "top_k" in fields else {},
            **_without(fields, "top_k"),
        )

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
    model: str = ""


class _Pauses:
    """Waits between attempts, of all threads that ask; one that a person would notice is said once."""

    def __init__(self, say: Callable[[str], None], base_url: str) -> None:
        self._say, self._base_url = say, base_url
        self._ended, self._lock, self._said_until_s = threading.Event(), threading.Lock(), 0.0

    def pause(self, attempt: int, complaint: Exception) -> bool:
        """Wait as long as the server asks, else longer with every attempt; False if the run has ended meanwhile."""
        seconds = _asked_pause_s(complaint)
        if seconds is None:
            seconds = min(_MAX_PAUSE_S, _FIRST_PAUSE_S * 2.0**attempt)
        if seconds >= _SAID_PAUSE_S:
            self._say_once(seconds, complaint)
        return not self._ended.wait(seconds)

    def end(self) -> None:
        """Nobody waits any longer."""
        self._ended.set()

    def _say_once(self, seconds: float, complaint: Exception) -> None:
        now_s = time.monotonic()
        with self._lock:
            if now_s < self._said_until_s:
                return
            self._said_until_s = now_s + seconds
        self._say(f"{self._base_url}: asked again in {seconds:.0f} s, got {_reason(complaint)}")


def _asked_pause_s(error: Exception) -> float | None:
    """Seconds that an answer's Retry-After asks for, at most a minute of them; None without one that is a number."""
    try:
        asked_s = float(error.retry_after if isinstance(error, StatusError) else "")
    except ValueError:
        return None
    return min(asked_s, _MAX_ASKED_PAUSE_S) if asked_s > 0 else None


def _parse(found: Any, *, max_tokens: int) -> _ServerAnswer:
    """A chat completion, checked.

    Raises: ValueError if it lacks text or token counts, _UnusableAnswerError if a known finish reason.
    """
    try:
        choice, usage = found["choices"][0], found["usage"]
        message, finish_reason = choice["message"], choice.get("finish_reason")
        # Servers that split the thinking off put it beside the content.
        texts = [message.get("reasoning_content"), message.get("content")]
        prompt_tokens, generated_tokens = (count(usage[key], key) for key in ("prompt_tokens", "completion_tokens"))
    except (TypeError, KeyError, IndexError, AttributeError):
        raise ValueError(f"an answer must have choices and usage, got {shortened(found)}") from None
    if strange := [text for text in texts if not isinstance(text, str | None)]:
        raise ValueError(f"an answer's content must be text, got {shortened(strange[0])}")
    text = "".join(text or "" for text in texts)
    if not prompt_tokens or (text and not generated_tokens):
        raise ValueError(f"an answer must count its tokens, got {prompt_tokens} of the prompt and {generated_tokens}")
    finish = FinishReason.LENGTH if generated_tokens >= max_tokens else _FINISHES.get(str(finish_reason))
    if finish is None:
        raise _UnusableAnswerError(f"an answer must end by stop or length, got {shortened(finish_reason)}")
    model = found.get("model")
    return _ServerAnswer(
        text=whole_text(text),
        finish=finish,
        prompt_tokens=prompt_tokens,
        generated_tokens=generated_tokens,
        model=model if isinstance(model, str) else "",
    )


def _reason(error: Exception) -> str:
    """What a server or the client says, in one line."""
    return one_line(error) or type(error).__name__


def _refused(trial: Trial, reason: str) -> Answer:
    completion = Completion.refused(trial.request_id, reason)
    return Answer(trial=trial, text="", prompt_tokens=0, completion=completion)


def _without(fields: Mapping[str, float], name: str) -> dict[str, float]:
    return {key: value for key, value in fields.items() if key != name}
