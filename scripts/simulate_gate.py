"""How many launches does the gate's sequential rule take, and how often does it err? By simulation.

python scripts/simulate_gate.py                   normal launches of several spreads, about ten minutes
python scripts/simulate_gate.py --decisions 200   the same, roughly, in half a minute
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable

from kinetics.gate.decision import Verdict
from kinetics.gate.sequential import decide

SPREADS = (0.005, 0.015, 0.025, 0.04, 0.06)
SLOW_DOWNS = (0.0, 0.01, 0.05, 0.10)
Draw = Callable[[], float]


def line_of(name: str, draw: Draw, *, budget: float, num_decisions: int) -> str:
    """Mean launches and shares of verdicts of cases whose launches are drawn."""
    verdicts, num_launches = [], 0
    for _ in range(num_decisions):
        values: list[float] = []
        while due := (found := decide(values, budget=budget)).num_launches_next:
            values += [draw() for _ in range(due - len(values))]
        verdicts.append(found.verdict)
        num_launches += found.num_looked_at
    shares = (f"{one.value} {100 * verdicts.count(one) / num_decisions:.2f} %" for one in (Verdict.SLOW, Verdict.SAME))
    return f"| {name} | {num_launches / num_decisions:.1f} | {' | '.join(shares)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=4000)
    parser.add_argument("--budget", type=float, default=0.05)
    given = parser.parse_args()
    rng = random.Random(1)  # noqa: S311 - simulated launches, not secrets
    asked = {"budget": given.budget, "num_decisions": given.decisions}
    for sd in SPREADS:
        for shift in SLOW_DOWNS:
            name = f"SD {100 * sd:g} %, {100 * shift:+g} %"
            print(line_of(name, lambda sd=sd, shift=shift: rng.gauss(math.log1p(shift), sd), **asked), flush=True)  # type: ignore[misc]


if __name__ == "__main__":
    main()
