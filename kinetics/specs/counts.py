"""Counts as people write them: 32k is 32768, 1m is 1048576."""

from __future__ import annotations

import re
from typing import Final

_K = 1024
_FACTORS = {"": 1, "k": _K, "m": _K**2}
MAX_COUNT: Final = 2**48
"""Of tokens, answers, devices: more is a slip of the finger, and beyond what floats and loops hold."""


def short(count: int) -> str:
    """32768 is `32k`, 1024 is `1k`, 1000 stays `1000`."""
    return f"{count // _K}k" if count % _K == 0 and count >= 2 * _K else str(count) if count != _K else "1k"


def parse_count(text: str) -> int:
    """The inverse of `short`: `32k` and `32K` are 32768, `1m` is 1048576.

    Raises: ValueError if the text is not a positive count, or a larger one than anything has.
    """
    count = read_count(text)
    if count is None or not 1 <= count <= MAX_COUNT:
        raise ValueError(f"a count must be a positive integer such as 1024 or 32k, got {text[:40]!r}")
    return count


def read_count(text: str) -> int | None:
    """A count as people write it, or 0, or less; None for what is no whole number."""
    match = re.fullmatch(r"(-?[0-9]{1,20})([km]?)", text.strip().lower())
    return int(match[1]) * _FACTORS[match[2]] if match else None


def parse_counts(text: str) -> list[int]:
    """Several counts: `1,16,64`, or `4k..128k` doubling from the first up to the last.

    Raises: ValueError if one of them is not a positive count, or a range runs backwards.
    """
    found: list[int] = []
    for part in text.split(","):
        first, dots, last = part.partition("..")
        count, end = parse_count(first), parse_count(last if dots else first)
        if end < count:
            raise ValueError(f"a range of counts must not run backwards, got {part!r}; write {last}..{first}")
        while count < end:
            found.append(count)
            count *= 2
        found.append(end)
    return list(dict.fromkeys(found))
