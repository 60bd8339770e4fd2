"""The miniature contest: problems whose solutions are random searches written out step by step.

A problem names twenty-five digits, A..P and r..z, and asks which one of A..P and which one of r..z add up to a given
last digit; exactly one pair does. A solution tries pairs until one fits, so a longer one tries more, and another one
starts elsewhere. The file knows symbols and texts; which model reads them, and how symbols are numbered, is not its
business.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

FIRST_NAMES: Final = "ABCDEFGHIJKLMNOP"
SECOND_NAMES: Final = "rstuvwxyz"
BASE: Final = 10
END: Final = "<eos>"
PLUS, MISS, HIT, BOX, BOX_END, PROMPT_END = "+", " no\n", " yes\n", "\\boxed{", "}", "\n"
SYMBOLS: Final = (
    *FIRST_NAMES, *SECOND_NAMES, *(str(digit) for digit in range(BASE)), *(f"={digit}" for digit in range(BASE)),
    *(f"?{digit}" for digit in range(BASE)), PLUS, MISS, HIT, BOX, BOX_END, PROMPT_END,
)  # fmt: skip
"""Everything a text is made of; `END` stops a solution and is no part of its text."""

GENERATOR_VERSION: Final = 2
"""Goes up when the same seed no longer means the same problem or solution."""

PROMPT_SYMBOLS: Final = 2 * (len(FIRST_NAMES) + len(SECOND_NAMES)) + 2
NUM_TEST_SEEDS: Final = 10_000
"""Seeds below this one are the test set; training draws from this one on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContestProblem:
    """One problem: a digit for each name, and the last digit that the sum of the wanted pair has."""

    problem_id: str
    first: tuple[int, ...]
    second: tuple[int, ...]
    target: int

    @property
    def text(self) -> str:
        """The problem as a model reads it: `A3B7...s1t4...?8` and a line feed."""
        return "".join(self.symbols)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The text in symbols, always as many."""
        named = zip(FIRST_NAMES + SECOND_NAMES, self.first + self.second, strict=True)
        return (*(symbol for name, digit in named for symbol in (name, str(digit))), f"?{self.target}", PROMPT_END)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The places (i, j) of all pairs that fit."""
        return tuple((i, j) for i, a in enumerate(self.first) for j, b in enumerate(self.second) if self._fits(a, b))

    @property
    def gold(self) -> int:
        """The answer: the place of the first name in two digits and of the second in one, counted from 1.

        `D` and `u` are 04 and 4: 44.
        """
        [(i, j)] = self.pairs
        return int("".join(_places(i, j)))

    def _fits(self, a: int, b: int) -> bool:
        return (a + b) % BASE == self.target


def make_problem(seed: int) -> ContestProblem:
    """The problem of a seed. Exactly one pair fits.

    The nine digits that do not belong to the pair are dealt to the two sides, so that no other two can meet.
    """
    rng = Random(seed)  # noqa: S311 - nothing secret
    target, wanted = rng.randrange(BASE), rng.randrange(BASE)
    others = [digit for digit in range(BASE) if digit != wanted]
    rng.shuffle(others)
    split = rng.randint(2, len(others) - 2)
    first = rng.choices(others[:split], k=len(FIRST_NAMES))
    missing = rng.choices(others[split:], k=len(SECOND_NAMES))
    first[rng.randrange(len(first))] = wanted
    missing[rng.randrange(len(missing))] = wanted
    second = tuple((target - digit) % BASE for digit in missing)
    return ContestProblem(problem_id=f"mini-{seed:05d}", first=tuple(first), second=second, target=target)


def write_solution(problem: ContestProblem, rng: Random, *, num_misses: int) -> list[str]:
    """The symbols of a solution: so many pairs that do not fit, then the one that does, and its box."""
    [hit] = problem.pairs
    misses: list[tuple[int, int]] = []
    while len(misses) < num_misses:
        pair = rng.randrange(len(problem.first)), rng.randrange(len(problem.second))
        if pair != hit:
            misses.append(pair)
    symbols = [symbol for pair in (*misses, hit) for symbol in _attempt(problem, *pair)]
    return [*symbols, BOX, *_places(*hit), BOX_END, END]


def solution_length(num_misses: int) -> int:
    """Symbols of a solution with so many misses, the end included."""
    return ATTEMPT_SYMBOLS * (num_misses + 1) + ANSWER_SYMBOLS


ATTEMPT_SYMBOLS: Final = 8
ANSWER_SYMBOLS: Final = 6
HIT_RATE: Final = 1 / (len(FIRST_NAMES) * len(SECOND_NAMES))
"""Share of the writer's attempts that fit: pairs are drawn blindly."""


def _places(i: int, j: int) -> tuple[str, str, str]:
    return (*f"{i + 1:02d}", str(j + 1))


def _attempt(problem: ContestProblem, i: int, j: int) -> tuple[str, ...]:
    """A pair, its sum beside the wanted digit, and the verdict: `A3+t2=5?6 no`."""
    a, b = problem.first[i], problem.second[j]
    total = (a + b) % BASE
    verdict = HIT if total == problem.target else MISS
    return FIRST_NAMES[i], str(a), PLUS, SECOND_NAMES[j], str(b), f"={total}", f"?{problem.target}", verdict
