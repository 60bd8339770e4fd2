"""The one way to say "cannot, because": a reason in one line, in place of the thing that could not be had."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Something cannot be done here. `reason` says why in one line and, where there is one, names the remedy.

    A function that answers whether something can be done returns None if it can. A function that hands out something
    returns it, or this instead.
    """

    reason: str

    def __str__(self) -> str:
        return self.reason
