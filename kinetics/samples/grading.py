"""Is an answer right? Two graders, and where they disagree.

`strict` takes the last `\\boxed{...}` and wants an integer from 0 to 999 in it: the AIME rule, and the only honest one
for text that was cut off. `paper` extracts leniently and compares symbolically, as the published traces were graded;
it lives in `paper_grader`. Texts are untrusted: they are searched, never evaluated.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

MAX_ANSWER: Final = 999
_BOX: Final = "\\boxed{"
_BRACE: Final = re.compile("[{}]")
_MAX_GOLD_CHARS: Final = 100
_DIGITS: Final = re.compile(r"[0-9]{1,16}", re.ASCII)
# A published AIME 2025 set has 336^\circ as a gold answer.
_GOLD_DECORATION: Final = re.compile(r"\s|\$|\^\s*\{?\s*\\circ\s*\}?|\\,")


class GraderKind(Enum):
    """Which rule decides."""

    STRICT = "strict"
    PAPER = "paper"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """The verdict, the answer it was given on (empty if none was found), and why there is none.

    `reason` is empty, `no answer`, `timeout`, or the error that the grader met.
    """

    is_correct: bool
    answer: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """An answer that two graders judge differently."""

    index: int
    strict: Grade
    paper: Grade


def parse_gold(gold: str) -> int:
    """A gold answer as an integer: leading zeros, spaces, dollars and a degree sign do not matter.

    Raises: ValueError if what remains is no integer from 0 to 999.
    """
    digits = _GOLD_DECORATION.sub("", gold) if len(gold) <= _MAX_GOLD_CHARS else ""
    if not _DIGITS.fullmatch(digits) or int(digits) > MAX_ANSWER:
        raise ValueError(f"gold answer must be an integer from 0 to {MAX_ANSWER}, got {gold[:40]!r}")
    return int(digits)


def last_boxed(text: str) -> str | None:
    """What stands in the last `\\boxed{...}`, braces balanced; None without a closed box."""
    open_at: list[int] = []
    last: tuple[int, int] | None = None
    # One pass, whatever the text: looking for the end of each of many open boxes would take for ever.
    for match in _BRACE.finditer(text):
        if match.group() == "{":
            open_at.append(match.start())
        elif open_at:
            opened = open_at.pop()
            is_box = text.startswith(_BOX, opened + 1 - len(_BOX)) and opened + 1 >= len(_BOX)
            if is_box and (last is None or opened > last[0]):
                last = (opened, match.start())
    return None if last is None else text[last[0] + 1 : last[1]]


def grade_strict(text: str, gold: str) -> Grade:
    """Whether the last box holds the gold integer; leading zeros do not matter.

    Raises: ValueError if the gold answer is no integer from 0 to 999.
    """
    wanted = parse_gold(gold)
    content = (last_boxed(text) or "").strip()
    if not _DIGITS.fullmatch(content) or int(content) > MAX_ANSWER:
        return Grade(is_correct=False, answer="", reason="no answer")
    return Grade(is_correct=int(content) == wanted, answer=str(int(content)))


def find_disagreements(strict: Sequence[Grade], paper: Sequence[Grade]) -> list[Disagreement]:
    """The answers that one grader accepts and the other does not."""
    return [
        Disagreement(index=index, strict=by_strict, paper=by_paper)
        for index, (by_strict, by_paper) in enumerate(zip(strict, paper, strict=True))
        if by_strict.is_correct != by_paper.is_correct
    ]
