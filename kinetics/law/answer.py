"""What to run: the cheapest strategy for each accuracy, over all models, attention, lengths and numbers of answers.

Somebody who can check answers may draw many and keep the right one; nobody else may count that. So there are two lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from kinetics.law.choices import Choices, choose, cost_grid
from kinetics.law.strategies import Rule, StrategyTable

UNCHECKED: Final = "nobody checks"
CHECKED: Final = "answers are checked"
_STEP: Final = 0.1
"""Accuracy between two rows of a list."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """The best strategies within each cost where answers are, or are not, checked."""

    who: str
    choices: Choices

    def places(self) -> Iterator[int]:
        """Where on the grid of costs another tenth of the questions is solved; and where the most are."""
        accuracy = self.choices.accuracy
        top = int(np.argmax(accuracy))
        reached = 0.0
        for i in range(top + 1):
            level = np.floor(accuracy[i] / _STEP + 1e-9)
            if self.choices.best[i] is not None and accuracy[i] > 0 and (level > reached or i == top):
                yield i
                reached = max(reached, level)


def find_answers(table: StrategyTable, cost_name: str, *, seed: int = 0, edges: Sequence[str] = ()) -> list[Answer]:
    """Both lists; `edges` as `choose` has them."""
    groups = {
        UNCHECKED: table.only(lambda one: one.trials == 1 or one.rule is not Rule.PASS),
        CHECKED: table.only(lambda one: one.rule is Rule.PASS),
    }
    grid = cost_grid(table.cost[cost_name])
    return [
        Answer(who=who, choices=choose(group, cost_name, grid, seed=seed, edges=edges))
        for who, group in groups.items()
        if group.strategies
    ]
