"""Is an answer right? Two graders, and where they disagree.

`strict` takes the last `\\boxed{...}` and wants an integer from 0 to 999 in it: the AIME rule, and the only honest one
for text that was cut off, within the box too. `paper` extracts leniently and compares symbolically, as the published
traces were graded; it lives in `paper_grader`. Texts are untrusted: they are searched, never evaluated.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MAX_ANSWER: Final = 999
_BOX: Final = re.compile(r"\\f?box(?:ed)?\s{0,8}\{")
_BRACE: Final = re.compile(rf"{_BOX.pattern}|[{{}}]")
_MAX_ANSWER_CHARS: Final = 100
_MAX_EXPRESSION_CHARS: Final = 300
_SPELLINGS: Final = (
    (re.compile(r"\\[dt]frac"), r"\\frac"),
    (re.compile(r"\\frac(\d)(\d)", re.ASCII), r"\\frac{\1}{\2}"),
    (re.compile(r"\\(?:left|right)(?![a-z])"), ""),
)
"""Ways to spell one expression: as patterns, and what they become."""
_INTEGER: Final = re.compile(r"([0-9]{1,16})(?:\.0*)?", re.ASCII)
# Spaces, dollars and a degree sign: a published AIME 2025 set has 336^\circ as a gold answer.
_DECORATION: Final = re.compile(r"\s|\$|~|\\[,;:! ]|\^\s*\{?\s*\\circ\s*\}?|\\(?:quad|degree)(?![a-z])")
_WRAPPED: Final = re.compile(r"(?:\\(?:text|textbf|textrm|textit|mathbf|mathrm|mathsf|mathit|bf|rm))?\{(.*)\}")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A `\\boxed{...}` or `\\fbox{...}`: where in a text its command starts and ends, and its content starts."""

    start: int
    content_start: int
    end: int
    is_closed: bool

    def content(self, text: str) -> str:
        """What stands in it."""
        return text[self.content_start : self.end - self.is_closed]


def parse_gold(gold: str) -> int:
    """A gold answer as an integer: leading zeros, spaces, dollars, fonts and a degree sign do not matter.

    Raises: ValueError if what remains is no integer from 0 to 999.
    """
    value = _parse_integer(gold)
    if value is None:
        raise ValueError(f"gold answer must be an integer from 0 to {MAX_ANSWER}, got {gold[:40]!r}")
    return value


def parse_answer(gold: str) -> int | str:
    """A gold answer as an integer from 0 to 999, or else as the expression that it is, dollars around it gone.

    Raises: ValueError for an empty one, one of several lines, or one too long to be an answer.
    """
    value = _parse_integer(gold)
    if value is not None:
        return value
    plain = gold.strip().strip("$").strip()
    if not plain or "\n" in plain or len(plain) > _MAX_EXPRESSION_CHARS:
        raise ValueError(
            f"gold answer must be an integer or an expression of at most {_MAX_EXPRESSION_CHARS} characters on one "
            f"line, got {gold[:40]!r}"
        )
    return plain


def grade_answer(text: str, gold: int | str) -> Grade:
    """The strict rule for an integer; for an expression whether the last box spells it, spaces and the like aside.

    Expressions of one value and another spelling are told alike by the paper grader alone.
    """
    if isinstance(gold, int):
        return grade_strict(text, str(gold))
    found = _spelled(last_boxed(text) or "")
    if not found:
        return Grade(is_correct=False, answer="", reason="no answer")
    return Grade(is_correct=found == _spelled(gold), answer=found[:_MAX_EXPRESSION_CHARS])


def find_boxes(text: str) -> list[Box]:
    """All boxes in the order in which they open."""
    open_at: list[tuple[int, int, bool]] = []
    found: list[Box] = []
    first = _BOX.search(text)
    if first is None:
        return []
    # One pass, whatever the text: looking for the end of each of many open boxes would take for ever. Braces before the
    # first box close none.
    for match in _BRACE.finditer(text, first.start()):
        if match.group() != "}":
            open_at.append((match.start(), match.end(), match.group() != "{"))
        elif open_at:
            start, content_start, is_box = open_at.pop()
            if is_box:
                found.append(Box(start=start, content_start=content_start, end=match.end(), is_closed=True))
    found += [
        Box(start=start, content_start=content_start, end=len(text), is_closed=False)
        for start, content_start, is_box in open_at
        if is_box
    ]
    return sorted(found, key=lambda box: box.start)


def last_boxed(text: str) -> str | None:
    """What stands in the last box, braces balanced; None without one, or if the text ends within it."""
    boxes = find_boxes(text)
    return boxes[-1].content(text) if boxes and boxes[-1].is_closed else None


def grade_strict(text: str, gold: str) -> Grade:
    """Whether the last box holds the gold integer; what does not matter in a gold answer does not matter in it.

    Raises: ValueError if the gold answer is no integer from 0 to 999.
    """
    wanted, found = parse_gold(gold), _parse_integer(last_boxed(text) or "")
    if found is None:
        return Grade(is_correct=False, answer="", reason="no answer")
    return Grade(is_correct=found == wanted, answer=str(found))


def find_disagreements(strict: Sequence[Grade], paper: Sequence[Grade]) -> list[Disagreement]:
    """The answers that one grader accepts and the other does not."""
    return [
        Disagreement(index=index, strict=by_strict, paper=by_paper)
        for index, (by_strict, by_paper) in enumerate(zip(strict, paper, strict=True))
        if by_strict.is_correct != by_paper.is_correct
    ]


def _spelled(expression: str) -> str:
    """An expression without what does not matter in it; empty if it is too long."""
    if len(expression) > _MAX_EXPRESSION_CHARS:
        return ""
    plain = _DECORATION.sub("", expression)
    for pattern, spelling in _SPELLINGS:
        plain = pattern.sub(spelling, plain)
    return plain


def _parse_integer(answer: str) -> int | None:
    """The integer from 0 to 999 that an answer is, once all that does not matter is gone; None if it is none."""
    if len(answer) > _MAX_ANSWER_CHARS:
        return None
    plain = _DECORATION.sub("", answer)
    while wrapped := _WRAPPED.fullmatch(plain):
        plain = wrapped.group(1)
    digits = _INTEGER.fullmatch(plain)
    value = int(digits.group(1)) if digits else MAX_ANSWER + 1
    return value if value <= MAX_ANSWER else None
