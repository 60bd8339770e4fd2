"""Tells the gate cases of one checkout: runs as a script, `python -P grid_of.py ROOT KIND GRID`, and prints JSON."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from pathlib import Path


def main() -> None:
    """Print each case's name, budgets and spec, as the checkout at ROOT has them."""
    root, device_kind, grid = sys.argv[1:]
    sys.path[:0] = [root, f"{root}/kernels"]
    with contextlib.redirect_stdout(sys.stderr):  # whatever is printed while it is imported
        cases = importlib.import_module("kinetics.gate.cases")
    if not Path(cases.__file__ or "").resolve().is_relative_to(Path(root).resolve()):
        sys.exit("it has no kinetics.gate.cases")  # another one, which is installed, speaks for no base
    names = ("name", "budget", "detectable_budget", "spec")
    found = cases.gate_cases(cases.GateGrid(grid), device_kind)
    json.dump([{name: getattr(one, name, None) for name in names} for one in found], sys.stdout)


if __name__ == "__main__":
    main()
