"""What `git bisect run` starts at every commit: asks the gate that drives it, and ends with the answer as exit code.

Runs as a script, `python -P bisect_step.py SOCKET`, and imports nothing of kinetics. An end without an answer is 128,
on which git stops.
"""

from __future__ import annotations

import socket
import sys


def main() -> None:
    """Wait for the answer on this commit."""
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(sys.argv[1])
        answer = asked.recv(16)
    sys.exit(int(answer or b"128"))


if __name__ == "__main__":
    main()
