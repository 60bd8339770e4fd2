"""Numbers of untrusted files: counts that stay counts in every sum made of them, and amounts that are finite."""

from __future__ import annotations

from typing import Any, Final

MAX_COUNT: Final = 2**40
"""Beyond it no count of tokens or keys is one, and sums of a few million would leave 64 bits."""


def count(value: Any, name: str) -> int:
    """`value`, if it is a whole number from 0 to `MAX_COUNT`.

    Raises: ValueError otherwise.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_COUNT:
        raise ValueError(f"{name} must be a count, got {shortened(value)}")
    return value


def amount(value: Any, name: str) -> float:
    """`value` as a float, if it is a finite number from 0 on.

    Raises: ValueError otherwise.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= MAX_COUNT**2:
        raise ValueError(f"{name} must be a number from 0 on, got {shortened(value)}")
    return float(value)


def shortened(value: Any) -> str:
    """A value in an error: at most 40 characters of it."""
    return repr(str(value)[:40])
