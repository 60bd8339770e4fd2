"""Checkouts of a revision, beside the working tree and never in it: git worktrees in a temporary folder."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from kinetics.machine.facts import source_state

_PREFIX = "kinetics-gate-"


def repository_root(start: Path) -> Path:
    """The checkout that `start` lies in.

    Raises: ValueError outside a git checkout of this suite.
    """
    found = _git(start, "rev-parse", "--show-toplevel")
    root = Path(found.stdout.strip())
    if found.returncode or not (root / "kinetics" / "gate").is_dir():
        raise ValueError(
            f"the gate must run inside a git checkout of this suite, got {start}; "
            "without one, compare with stored files: --baseline-file"
        )
    return root


def commit_of(root: Path, revision: str, *, option: str = "--base") -> str:
    """The commit that a revision names.

    Raises: ValueError if there is none here.
    """
    found = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if found.returncode:
        raise ValueError(
            f"{option} must name a commit of {root}, got {revision!r}; "
            f"fetch it first (git fetch origin {revision}; a shallow clone needs --unshallow)"
        )
    return found.stdout.strip()


def checkout_at(start: Path) -> Path:
    """The checkout of whatever project `start` lies in.

    Raises: ValueError outside a git checkout.
    """
    found = _git(start, "rev-parse", "--show-toplevel")
    if found.returncode:
        raise ValueError(f"the gate must run inside a git checkout, got {start}; run it where the suite is checked out")
    return Path(found.stdout.strip()).resolve()


@contextmanager
def checked_out(root: Path, commit: str) -> Iterator[Path]:
    """A clean checkout of `commit`, gone afterwards.

    Raises: ValueError if git cannot make one, or makes one whose files differ from the commit.
    """
    _remove_abandoned(root)
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / commit[:12]
        made = _git(root, "worktree", "add", "--detach", "--force", str(path), commit)
        if made.returncode:
            last_line = (made.stderr.strip().splitlines() or ["no message"])[-1]
            raise ValueError(f"the base revision {commit[:7]} cannot be checked out: {last_line}")
        try:
            if source_state(path) != (commit, False):
                raise ValueError(
                    f"the checkout of the base revision {commit[:7]} is dirty right after git made it; "
                    "a filter or a missing large file changes its sources"
                )
            yield path
        finally:
            _git(root, "worktree", "remove", "--force", str(path))


def _remove_abandoned(root: Path) -> None:
    """Remove the checkouts of runs that were killed before they could do so themselves."""
    _git(root, "worktree", "prune")
    for line in _git(root, "worktree", "list", "--porcelain").stdout.splitlines():
        path = Path(line.removeprefix("worktree "))
        owner = re.fullmatch(rf"{_PREFIX}(\d+)-.*", path.parent.name)
        if line.startswith("worktree ") and owner and not psutil.pid_exists(int(owner.group(1))):
            _git(root, "worktree", "remove", "--force", str(path))
            path.parent.rmdir()


def _git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603, S607 - git from PATH is what the user runs
