"""Unit factors, and numbers as people read them.

Everything inside the suite is in base SI units (bytes, seconds, FLOP). This file knows how to leave them, for
printing; it knows nothing about what is being counted.
"""

from typing import Final

MEGA: Final = 10**6
GIGA: Final = 10**9
TERA: Final = 10**12
GIBI: Final = 2**30

_SECOND_STEPS: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))


def format_seconds(seconds: float) -> str:
    """A duration with three significant digits in the unit a reader expects: 1.23e-5 is '12.3 us'."""
    for size, unit in _SECOND_STEPS:
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
