"""Judges a run by the rules of one checkout: a script, `python -P judge_of.py ROOT`, from a document to verdicts."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from pathlib import Path


def main() -> None:
    """Print what the checkout at ROOT says of every case of the document on stdin."""
    root = sys.argv[1]
    sys.path[:0] = [root, f"{root}/kernels"]
    with contextlib.redirect_stdout(sys.stderr):  # whatever is printed while it is imported
        judging = importlib.import_module("kinetics.gate.gate_file")
    if not Path(judging.__file__ or "").resolve().is_relative_to(Path(root).resolve()):
        sys.exit("it has no kinetics.gate.gate_file")  # another one, which is installed, speaks for no base
    document = json.load(sys.stdin)
    rule = importlib.import_module("kinetics.gate.sequential").RULE
    if rule != document["settings"]["rule"]:
        sys.exit(f"it judges by {rule}, these launches were taken for {document['settings']['rule']}")
    judging.complete(document)
    json.dump(document["verdicts"], sys.stdout)


if __name__ == "__main__":
    main()
