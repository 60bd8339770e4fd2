"""Asking NVIDIA's estimator, which runs in an environment of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

PEER_SCRIPT: Final = Path(__file__).with_name("peer_estimates.py")


def ask_peer(
    python: Path, *, steps: Sequence[dict[str, Any]] = (), operators: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """What the estimator answers to these cases; `scripts/peer_estimates.py` says how both look."""
    done = subprocess.run(  # noqa: S603 -- the Python that the caller names
        [str(python), str(PEER_SCRIPT)],
        input=json.dumps({"steps": list(steps), "operators": list(operators)}),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers
