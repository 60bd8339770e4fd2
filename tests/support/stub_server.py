"""A server on loopback that answers as told: well, with an error, with garbage, or not at all."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Body = dict[str, Any]
Answer = tuple[Any, ...]
"""A status, what stands in the body (text as it is, else JSON), and headers besides."""


def good(text: str = "so \\boxed{204}", *, finish: str = "stop", generated: int = 5) -> Answer:
    """What such a server says to one question."""
    return 200, {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 7, "completion_tokens": generated, "total_tokens": 7 + generated},
    }


HANG = "hang"
"""The answer that does not come."""
DRIP = "drip"
"""One byte of the body now and then, for ever."""
HEAD_DRIP = "head drip"
"""The same, of the head."""
ERROR_DRIP = "error drip"
"""The same, of what went wrong."""
ENDLESS_ERROR = "endless error"
"""What went wrong, as fast as it is read, for ever."""
OPEN_DRIP = "open drip"
"""A whole answer of no stated length, and then a space now and then, for ever."""
_DRIPS = {
    DRIP: b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n",
    HEAD_DRIP: b"HTTP/1.1 200 OK\r\nX-Drip: ",
    ERROR_DRIP: b"HTTP/1.1 500 Oops\r\nContent-Length: 1000000000\r\n\r\n",
    OPEN_DRIP: b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + json.dumps(good()[1]).encode(),
}


class StubServer:
    """Answers by `script` first (in order), then by `rule(body)`; keeps every body and its headers.

    Use as a context manager.
    """

    def __init__(
        self, *, script: Iterable[Answer | str] = (), rule: Callable[[Body], Answer | str] = lambda body: good()
    ) -> None:
        self.script, self.rule = deque(script), rule
        self.bodies: list[Body] = []
        self.headers: list[Message] = []
        self.most_at_once, self._at_once, self.num_written = 0, 0, 0
        self._lock, self._released = threading.Lock(), threading.Event()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with stub._lock:
                    stub.bodies.append(body)
                    stub.headers.append(self.headers)
                    stub._at_once += 1
                    stub.most_at_once = max(stub.most_at_once, stub._at_once)
                    answer = stub.script.popleft() if stub.script else None
                answer = stub.rule(body) if answer is None else answer
                with stub._lock:
                    stub._at_once -= 1
                if answer == HANG:
                    stub._released.wait(30)
                    return
                if isinstance(answer, str):
                    self.go_on(answer)
                    return
                status, content, *headers = answer
                data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def go_on(self, kind: str) -> None:
                is_fast, started_s = kind == ENDLESS_ERROR, time.monotonic()
                self.wfile.write(_DRIPS[ERROR_DRIP if is_fast else kind])
                with suppress(OSError):
                    # For ever, as far as a test waits; a client that never gives up fails instead of hanging.
                    while time.monotonic() - started_s < 10 and not stub._released.wait(0 if is_fast else 0.05):
                        self.wfile.write(b" " * (10**6 if is_fast else 1))
                        stub.num_written += 10**6 if is_fast else 1

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
