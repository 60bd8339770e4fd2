"""One question to a server and the bytes of its answer, however the server behaves.

The `openai` client speaks the protocol; what it leaves open is bounded here: the time of a whole answer, from the
connection to the last byte, and not of a silence alone; the bytes of it, packed ones refused; and where it comes from:
a redirect is not followed, since prompts are for the server that was named. Knows nothing of what answers say.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from kinetics.files.printable import one_line
from kinetics.specs.distribution import install_command

MAX_ANSWER_BYTES: Final = 16 * 2**20
"""The longest answers of the paper's models are about 100 kB."""
MAX_ERROR_BYTES: Final = 64 * 2**10
"""As much is read of why a request failed."""
_FIRST_REDIRECT: Final = 300
_FIRST_ERROR: Final = 400
_HEADERS: Final = {"Accept-Encoding": "identity", "Connection": "close"}
"""Nothing packed, which could grow a thousandfold; a connection per answer, for the deadline to hang up."""


class UnansweredError(ValueError):
    """The server gave no answer that can be read."""


class SilentServerError(UnansweredError):
    """An answer was not whole when its time was up."""


class RedirectError(UnansweredError):
    """The server sent the question elsewhere."""


class StatusError(UnansweredError):
    """The server answered with an error. `text`: what it says of it; `retry_after`: the pause it asks for, or ""."""

    def __init__(self, status_code: int, text: str, retry_after: str) -> None:
        super().__init__(f"status {status_code} {text}")
        self.status_code, self.text, self.retry_after = status_code, text, retry_after


class BoundedClient:
    """Asks one server; may be used by many threads at once.

    Raises: ValueError without the package.
    """

    def __init__(self, base_url: str, *, api_key: str, timeout_s: float) -> None:
        try:
            import openai
        except ImportError as error:
            raise ValueError(f"--engine openai needs the client; {install_command('openai')}") from error
        self._timeout_s = timeout_s
        self._asking = threading.local()
        self._deadlines: set[_Deadline] = set()
        self._silence: Any = openai.APITimeoutError
        transport = openai.DefaultHttpxClient(
            event_hooks={"request": [self._watch], "response": [_check_response]}, follow_redirects=False
        )
        self._client: Any = openai.OpenAI(
            base_url=base_url, api_key=api_key, timeout=timeout_s, max_retries=0, default_headers=_HEADERS,
            http_client=transport,
        )  # fmt: skip

    def ask(self, **fields: Any) -> bytes:
        """The body of one chat completion.

        Raises: UnansweredError, by its kind.
        """
        with _Deadline(self._timeout_s, self._deadlines) as deadline:
            self._asking.deadline = deadline
            try:
                with self._client.chat.completions.with_streaming_response.create(**fields) as response:
                    body = _read(response.iter_bytes(), MAX_ANSWER_BYTES)
            except Exception as error:  # the transport has its own kinds, by other names in each of its versions
                raise self._unanswered(error, has_expired=deadline.has_expired) from error
        if deadline.has_expired:  # hung up on: a body that ends with its connection only looks whole
            raise self._unanswered(ValueError(), has_expired=True)
        if len(body) > MAX_ANSWER_BYTES:
            raise UnansweredError(f"an answer must be at most {MAX_ANSWER_BYTES} bytes, got more")
        return body

    def close(self) -> None:
        """Hang up; whoever waits for an answer stops waiting."""
        for deadline in tuple(self._deadlines):
            deadline.expire()
        self._client.close()

    def _watch(self, request: Any) -> None:
        request.extensions = {**request.extensions, "trace": self._asking.deadline.trace}

    def _unanswered(self, error: Exception, *, has_expired: bool) -> UnansweredError:
        """The error of a question in words of one's own, whichever client raised it."""
        for one in (error, error.__cause__):
            if isinstance(one, UnansweredError):
                return one
        if has_expired or isinstance(error, self._silence):
            return SilentServerError(f"an answer timed out: it was not whole after {self._timeout_s:g} s")
        cause = "" if error.__cause__ is None else f" ({one_line(error.__cause__)})"
        return UnansweredError(f"no answer: {one_line(error) or type(error).__name__}{cause}")


class _Deadline:
    """Hangs up on whoever has not answered in time, wherever the answer stands: its head may drip, too."""

    def __init__(self, timeout_s: float, running: set[_Deadline]) -> None:
        self.has_expired = False
        self._running = running
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(timeout_s, self.expire)
        self._timer.daemon = True

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Told by the transport of what it does; takes the socket of a new connection."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
                if self.has_expired:
                    self._hang_up()

    def __enter__(self) -> Self:
        self._running.add(self)
        self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._timer.cancel()
        self._running.discard(self)

    def expire(self) -> None:
        """The time is up."""
        with self._lock:
            self.has_expired = True
            self._hang_up()

    def _hang_up(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # the other side was faster
                self._socket.shutdown(socket.SHUT_RDWR)


def _check_response(response: Any) -> None:
    """Let an answer's body through if it is one, plain and from here.

    Raises: UnansweredError otherwise.
    """
    if response.status_code >= _FIRST_ERROR:
        text = _read(response.iter_raw(), MAX_ERROR_BYTES).decode(errors="replace")
        raise StatusError(response.status_code, text[:MAX_ERROR_BYTES], response.headers.get("retry-after", ""))
    if response.status_code >= _FIRST_REDIRECT:
        there = one_line(response.headers.get("location", "nowhere"))[:200]
        raise RedirectError(f"the server must answer itself, got a redirect to {there}; ask there with --base-url")
    packing = response.headers.get("content-encoding", "identity")
    if packing.strip().lower() != "identity":
        raise UnansweredError(f"an answer must come as it is, got it packed by {one_line(packing)[:40]}")


def _read(chunks: Iterable[bytes], max_bytes: int) -> bytes:
    """The bytes, of more than `max_bytes` one chunk too many."""
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > max_bytes:
            break
    return bytes(body)
