"""What kinds of values there are, and how each reads: the one place where base units become text for people.

Knows nothing of which value is what; a column, or whoever prints a value, names its quantity.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum

from kinetics.specs.counts import short
from kinetics.specs.units import GIGA, TERA, format_seconds
from kinetics.tables.table import Value

NOTHING = "-"
"""What stands where a value is not known."""


class Quantity(Enum):
    """The kind of a value. Members whose unit is fixed name it in `unit`; headings of columns carry it."""

    TEXT = "text"
    FLAG = "flag"
    COUNT = "count"
    TOKENS = "tokens"
    SECONDS = "seconds"
    BYTES = "bytes"
    BYTES_PER_S = "gb_per_s"
    FLOP = "flop"
    FLOP_PER_S = "tflop_per_s"
    TOKENS_PER_S = "tokens_per_s"
    JOULES = "joules"
    SHARE = "percent"
    PERCENT = "fine_percent"
    RATIO = "ratio"
    TIME_RATIO = "time_ratio"
    SPEEDUP = "speedup"
    ERROR = "error"
    NUMBER = "number"

    @property
    def unit(self) -> str:
        """The unit that a bare number of this kind is in; empty where each value carries its own."""
        return _UNITS.get(self, "")

    @property
    def is_number(self) -> bool:
        """Whether values are numbers, which tables align on the right."""
        return self not in (Quantity.TEXT, Quantity.FLAG)


_UNITS = {
    Quantity.BYTES_PER_S: "GB/s",
    Quantity.FLOP_PER_S: "TFLOP/s",
    Quantity.TOKENS_PER_S: "tokens/s",
    Quantity.JOULES: "mJ",
    Quantity.FLOP: "GFLOP",
    Quantity.PERCENT: "%",
}


def show(value: Value, quantity: Quantity) -> str:
    """A value as a cell under a heading that names its fixed unit: `22.6` under GB/s, `1.3 ms` under median."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    return _SHOWN[quantity](value) if quantity in _SHOWN else number(value)


def tell(value: Value, quantity: Quantity) -> str:
    """A value on its own, with its unit: `22.6 GB/s`."""
    text = show(value, quantity)
    return f"{text} {quantity.unit}" if quantity.unit and text != NOTHING else text


def number(value: float) -> str:
    """At least three digits, thousands apart, no exponent between a thousandth and a million billions."""
    size = abs(value)
    if value == round(value) and size < 1e15:
        return f"{value:,.0f}"
    if size >= 1e15 or 0 < size < 1e-3:
        return f"{value:.2e}"
    return f"{value:,.0f}" if size >= 100 else f"{value:.3g}"


def byte_size(num_bytes: float) -> str:
    """Bytes in the unit a reader expects: `14.2 GiB`, `512 MiB`, `12 B`."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if abs(num_bytes) >= 2 ** (10 * power):
            return f"{number(num_bytes / 2 ** (10 * power))} {unit}"
    return f"{num_bytes:.0f} B"


def ratio(value: float, *, decimals: int = 2) -> str:
    """Some decimals around 1; far below it as a fraction, which reads better than zeros."""
    if 0 < value < 0.1:
        return f"1/{number(1 / value)}"
    return f"{value:.{decimals}f}" if value < 10 else number(value)


_SHOWN: dict[Quantity, Callable[[float], str]] = {
    Quantity.COUNT: lambda value: f"{value:,.0f}",
    Quantity.TOKENS: lambda value: short(round(value)),
    Quantity.SECONDS: lambda value: f"{value:,.0f} s" if value >= 1000 else format_seconds(value),
    Quantity.BYTES: byte_size,
    Quantity.BYTES_PER_S: lambda value: f"{value / GIGA:,.0f}" if value >= 1000 * GIGA else f"{value / GIGA:.1f}",
    Quantity.FLOP: lambda value: number(value / GIGA),
    Quantity.FLOP_PER_S: lambda value: number(value / TERA),
    Quantity.TOKENS_PER_S: number,
    Quantity.JOULES: lambda value: number(1e3 * value),
    Quantity.SHARE: lambda value: f"{100 * value:.0f} %",
    Quantity.PERCENT: lambda value: f"{100 * value:.1f}",
    Quantity.RATIO: ratio,
    Quantity.TIME_RATIO: lambda value: ratio(value, decimals=3),
    Quantity.SPEEDUP: lambda value: f"{ratio(value)}x",
    Quantity.ERROR: lambda value: f"{value:.1e}",
}
