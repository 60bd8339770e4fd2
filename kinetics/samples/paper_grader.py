"""The lenient grader of the published traces, in a process of its own.

Extraction and comparison are math-verify's, set up as lighteval 0.10.0 was for the paper: boxes first, then any last
number; 5 decimal places. Symbolic comparison of untrusted text can run for ever inside C code, where signals and
threads do not help, so a child process grades and is killed when an answer exceeds its time. That also works in
worker processes, which may not use signals or start daemons.
"""

import json
import re
import select
import subprocess
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import IO, Final, Self

from kinetics.samples.grading import Grade, find_boxes
from kinetics.specs.distribution import install_command

DEFAULT_TIMEOUT_S: Final = 5.0
START_TIMEOUT_S: Final = 60.0
READY: Final = "ready"
MAX_TAIL_CHARS: Final = 20_000
"""The end of a text is searched: the answer stands there, and extraction time grows with length."""
MAX_TEXT_CHARS: Final = 100_000
"""So much of it is, if there is no box in all of it."""
_AROUND_BOX_CHARS: Final = 1_000
_BOX: Final = "\\boxed{"
_JOINT: Final = re.compile(r"\s*(?:and|or|,)\s*")
_MATH_ENDS: Final = ("$", "\\)", "\\]")


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
        child.stdin.write(json.dumps({"text": searched_part(text), "gold": gold}) + "\n")
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


def searched_part(text: str) -> str:
    """What of a text can hold the answer: its end, or where the last box stands, neighbouring boxes made one.

    Today's extraction takes boxes that stand close together for one answer; that of lighteval 0.10.0 did so only where
    nothing but a comma, `and` or `or` joins them, and took the last one else.
    """
    boxes = find_boxes(text)
    if not boxes:
        return text[-MAX_TEXT_CHARS:]
    start = max(0, min(len(text) - MAX_TAIL_CHARS, boxes[-1].start - _AROUND_BOX_CHARS))
    return _with_one_box(text[start : start + MAX_TAIL_CHARS])


def _with_one_box(text: str) -> str:
    """The text with the last box and those joined to it made one, and the boxes before them opened up."""
    boxes = [box for box in find_boxes(text) if text.startswith(_BOX, box.start)]
    if not boxes or not all(box.is_closed for box in boxes):
        return text
    joined = [boxes.pop()]
    while boxes and _JOINT.fullmatch(text[boxes[-1].end : joined[0].start]):
        joined.insert(0, boxes.pop())
    head, start = text[: joined[0].start], joined[0].start
    for box in reversed(boxes):
        # A box in a formula of its own was always told from its neighbours.
        if box.end > start or any(end in text[box.end : start] for end in _MATH_ENDS):
            break
        head = f"{head[: box.start]}{{{box.content(text)}}}{head[box.end :]}"
        start = box.start
    contents = ",".join(box.content(text) for box in joined)
    return f"{head}\\boxed{{{contents}}}{text[joined[-1].end :]}"


def _read_line(stream: IO[str], timeout_s: float) -> str | None:
    """One line from a pipe; None if it does not come in time or the pipe is closed.

    The child answers with one line to one question, so that nothing can linger in the stream's buffer.
    """
    ready, _, _ = select.select([stream], [], [], timeout_s)
    return (stream.readline() or None) if ready else None
