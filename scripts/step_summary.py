"""Print files of `kinetics gate` and `kinetics gate self-test` as Markdown, for the summary of a CI step.

    python scripts/step_summary.py gate.json >> "$GITHUB_STEP_SUMMARY"

A file that is missing or broken is said in the summary, too, and makes the exit code 3.
"""

from __future__ import annotations

import sys
from pathlib import Path

from kinetics.gate.gate_file import read_gate_file
from kinetics.gate.tables import markdown, plain_cell

EXIT_INVALID = 3


def main(paths: list[str]) -> int:
    code = 0
    for path in paths:
        try:
            print(markdown(read_gate_file(Path(path))))
        except ValueError as error:
            print(f"**No verdicts**: {plain_cell(str(error))}\n")
            code = EXIT_INVALID
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
