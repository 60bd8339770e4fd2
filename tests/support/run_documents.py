"""Runs `kinetics` commands, one JSON list of words a line of stdin, in this folder and process; answers in JSON lines.

A process of its own, started in a clone, so that whatever a command writes beside its own code is seen there.
"""

import json
import sys
from pathlib import Path

from typer.testing import CliRunner

from kinetics.cli.main import app


def found(word: str) -> list[str]:
    """The files that a shell would put in the place of a word with a star."""
    return sorted(map(str, Path().glob(word))) if "*" in word else []


def main() -> None:
    """Answer each line with exit code, output and what was said on stderr."""
    for line in sys.stdin:
        words = json.loads(line)
        expanded = [name for word in words for name in (found(word) or [word])]
        done = CliRunner().invoke(app, expanded)
        fault = "" if done.exception is None or isinstance(done.exception, SystemExit) else repr(done.exception)
        print(json.dumps({"code": done.exit_code, "stdout": done.stdout, "stderr": done.stderr + fault}), flush=True)


if __name__ == "__main__":
    main()
