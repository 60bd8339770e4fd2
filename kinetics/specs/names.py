"""Names as people type them, held against the names that are known."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def did_you_mean(typed: str, known: Iterable[str]) -> str:
    """`did you mean X?`, or `X or Y?`, for the known names closest to a typed one; empty if none is close."""
    by_spelling: dict[str, str] = {}
    for name in known:
        by_spelling.setdefault(spelling(name), name)
    wanted = spelling(typed)
    close = difflib.get_close_matches(wanted, by_spelling, n=2, cutoff=0.6)
    close += [one for one in by_spelling if len(wanted) > 2 and one.startswith(wanted) and one not in close]
    return f"did you mean {' or '.join(by_spelling[one] for one in close[:2])}?" if close else ""


def unknown_name(rule: str, typed: str, known: Iterable[str]) -> str:
    """The one line about a name that nothing answers to; `rule`: `model must be a known one`."""
    names = list(known)
    remedy = did_you_mean(typed, names) or f"choose from {', '.join(names)}"
    return f"{rule}, got {typed[:60]!r}; {remedy}"


def spelling(name: str) -> str:
    """Letters and digits only, so that case, dots, dashes and underscores do not matter."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
