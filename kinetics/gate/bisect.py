"""Which commit made a case slower: `git bisect run` in a worktree of its own, each commit judged by whoever is given.

Knows commits and answers, neither kernels nor times. The user's checkout is not touched: git keeps what it knows of
a search with the worktree in which it runs, and that is gone afterwards.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from kinetics.files.printable import one_line
from kinetics.gate.checkout import checked_out

_STEP: Final = Path(__file__).with_name("bisect_step.py")
_POLL_S: Final = 0.1
Say = Callable[[str], None]


class CannotBisectError(ValueError):
    """There is nothing to search, or git cannot; the message says why."""

    exit_code = 3


class Answer(Enum):
    """What is said of a commit; the value is what `git bisect run` takes for it."""

    GOOD = 0
    BAD = 1
    SKIP = 125
    """It cannot be judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One commit that the search came to. `is_timed`: launches were taken, its code being that of no other."""

    commit: str
    subject: str
    answer: Answer
    reason: str
    is_timed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bisection:
    """The first bad commit, or None where commits that could not be judged leave several: `suspects`, oldest first."""

    first_bad: str | None
    suspects: tuple[str, ...]
    judged: tuple[Judged, ...]


JudgeCommit = Callable[[Path, str], tuple[Answer, str, bool]]
"""From a checkout and its commit to an answer, the reason, and whether it was timed."""


def bisect(root: Path, good: str, bad: str, judge: JudgeCommit, say: Say) -> Bisection:
    """Search between two commits, of which the second follows from the first.

    Raises: CannotBisectError; whatever `judge` raises, which ends the search.
    """
    if good == bad or _git(root, "merge-base", "--is-ancestor", good, bad).returncode:
        raise CannotBisectError(
            f"BAD must be a descendant of GOOD, got {good[:7]} and {bad[:7]}; name them in this order"
        )
    judged: list[Judged] = []
    with checked_out(root, bad) as tree:
        _must(_git(tree, "bisect", "start", bad, good))
        if len(_suspects(tree)) > 1:
            _drive(tree, judge, judged, say)
        suspects = _suspects(tree)
    first_bad = suspects[0] if len(suspects) == 1 else None
    return Bisection(first_bad=first_bad, suspects=suspects, judged=tuple(judged))


def subject_of(root: Path, commit: str) -> str:
    """The first line of a commit's message, safe to show."""
    return one_line(_git(root, "show", "--no-patch", "--format=%s", commit).stdout)


def _drive(tree: Path, judge: JudgeCommit, judged: list[Judged], say: Say) -> None:
    """Run `git bisect run`, and answer each of its steps from here, until it ends."""
    with _listening() as (listener, address), tempfile.TemporaryFile() as words:
        command = ["git", "bisect", "run", sys.executable, "-P", str(_STEP), address]
        process = subprocess.Popen(command, cwd=tree, stdout=words, stderr=words, start_new_session=True)  # noqa: S603 - fixed words
        try:
            while process.poll() is None:
                try:
                    step, _ = listener.accept()
                except TimeoutError:
                    continue
                with step:
                    judged.append(_judged(tree, judge))
                    step.sendall(str(judged[-1].answer.value).encode())
                say(f"{judged[-1].commit[:7]} {judged[-1].answer.name}: {judged[-1].reason}")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        words.seek(0)
        if process.returncode not in (0, 2):
            last_words = words.read().decode(errors="replace").strip().splitlines() or ["no message"]
            raise CannotBisectError(f"git bisect run ended with {process.returncode}: {one_line(last_words[-1])}")


def _judged(tree: Path, judge: JudgeCommit) -> Judged:
    commit = _must(_git(tree, "rev-parse", "HEAD"))
    # Bytecode is told from its source by second and size; two checkouts in one second would share it.
    _must(_git(tree, "clean", "-ffdxq"))
    answer, reason, is_timed = judge(tree, commit)
    return Judged(
        commit=commit, subject=subject_of(tree, commit), answer=answer, reason=one_line(reason), is_timed=is_timed
    )


@contextmanager
def _listening() -> Iterator[tuple[socket.socket, str]]:
    with tempfile.TemporaryDirectory(prefix="kinetics-bisect-") as folder, socket.socket(socket.AF_UNIX) as listener:
        address = str(Path(folder) / "step")
        listener.bind(address)
        listener.listen()
        listener.settimeout(_POLL_S)
        yield listener, address


def _suspects(tree: Path) -> tuple[str, ...]:
    """Commits that may be the first bad one, oldest first."""
    listed = _must(
        _git(tree, "rev-list", "--topo-order", "--reverse", "refs/bisect/bad", "--not", "--glob=refs/bisect/good-*")
    )
    return tuple(listed.split())


def _must(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise CannotBisectError(f"git {done.args[1]} cannot: {one_line(words)}")
    return done.stdout.strip()


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603, S607 - git from PATH is what the user runs
