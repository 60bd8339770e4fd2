"""Counts as people write them: 32k is 32768."""

from __future__ import annotations

import re

_K = 1024


def short(count: int) -> str:
    """32768 is `32k`, 1024 is `1k`, 1000 stays `1000`."""
    return f"{count // _K}k" if count % _K == 0 and count >= 2 * _K else str(count) if count != _K else "1k"


def parse_count(text: str) -> int:
    """The inverse of `short`: `32k` is 32768.

    Raises: ValueError if the text is not a positive count.
    """
    match = re.fullmatch(r"(\d+)(k?)", text.strip().lower())
    count = int(match.group(1)) * (_K if match.group(2) else 1) if match else 0
    if count < 1:
        raise ValueError(f"a count must be a positive integer such as 1024 or 32k, got {text!r}")
    return count


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
