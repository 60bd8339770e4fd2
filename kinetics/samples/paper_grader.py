"""The lenient grader of the published traces, in a process of its own.

Extraction and comparison are math-verify's, set up as lighteval 0.10.0 was for the paper: boxes first, then any last
number; 5 decimal places. Symbolic comparison of untrusted text can run for ever inside C code, where signals and
threads do not help, so a child process grades and is killed when an answer exceeds its time. That also works in
worker processes, which may not use signals or start daemons.
"""

import json
import select
import subprocess
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import IO, Final, Self

from kinetics.distribution import install_command
from kinetics.samples.grading import Grade

DEFAULT_TIMEOUT_S: Final = 5.0
START_TIMEOUT_S: Final = 60.0
READY: Final = "ready"
MAX_TEXT_CHARS: Final = 20_000
"""Only the end of a text is searched: the answer stands there, and extraction time grows with length."""


class PaperGrader:
    """Grades answers one at a time; a context manager that owns its child process.

    Raises: RuntimeError if math-verify is not installed.
    """

    def __init__(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._child: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def grade(self, text: str, gold: str) -> Grade:
        """Whether math-verify finds the gold answer; a timeout or an error counts as wrong and says so."""
        child = self._running_child()
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps({"text": text[-MAX_TEXT_CHARS:], "gold": gold}) + "\n")
        child.stdin.flush()
        reply = _read_line(child.stdout, self._timeout_s)
        if reply is None:
            reason = "timeout" if child.poll() is None else f"grader died with status {child.poll()}"
            self.close()
            return Grade(is_correct=False, answer="", reason=reason)
        verdict = json.loads(reply)
        return Grade(is_correct=verdict["is_correct"], answer=verdict["answer"], reason=verdict["reason"])

    def grade_all(self, pairs: Iterable[tuple[str, str]]) -> list[Grade]:
        """Grades of (text, gold) pairs, in order."""
        return [self.grade(text, gold) for text, gold in pairs]

    def close(self) -> None:
        """End the child process; the next grade starts another."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

    def _running_child(self) -> subprocess.Popen[str]:
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "kinetics.samples.paper_grader_child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
            )
            assert self._child.stdout is not None
            greeting = (_read_line(self._child.stdout, START_TIMEOUT_S) or "it did not start").strip()
            if greeting != READY:
                self.close()
                raise RuntimeError(f"the paper grader needs math-verify, got: {greeting}; {install_command('law')}")
        return self._child


def _read_line(stream: IO[str], timeout_s: float) -> str | None:
    """One line from a pipe; None if it does not come in time or the pipe is closed.

    The child answers with one line to one question, so that nothing can linger in the stream's buffer.
    """
    ready, _, _ = select.select([stream], [], [], timeout_s)
    return (stream.readline() or None) if ready else None
