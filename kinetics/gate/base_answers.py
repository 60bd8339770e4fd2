"""Questions that a base answers by its own code, in a process of its own: its grid, its verdicts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

Answer = TypeVar("Answer")
_TIMEOUT_S = 120.0


def ask_base(
    script: Path, root: Path, words: Sequence[str], kind: type[Answer], *, given: str | None = None
) -> Answer | str:
    """What `script` prints of the checkout at `root`; in its place, in a line, why it tells nothing.

    `given`: what it reads on stdin.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter, our own script
            [sys.executable, "-P", str(script), str(root), *words],
            cwd=root, env=environment, input=given, capture_output=True, text=True, errors="replace",
            timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
        if done.returncode:
            return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return msgspec.json.decode(done.stdout, type=kind)
    except (OSError, subprocess.TimeoutExpired, msgspec.MsgspecError) as error:
        return str(error).splitlines()[0]
