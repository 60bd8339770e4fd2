"""A document of plain values as lines for people: what a key's ending says of its unit, its value is shown in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kinetics.files.printable import printable
from kinetics.tables.quantity import NOTHING, Quantity, tell

_ENDINGS: Final = (
    ("_bytes_per_s", "", Quantity.BYTES_PER_S), ("_flop_per_s", "", Quantity.FLOP_PER_S),
    ("_bytes", " bytes", Quantity.BYTES), ("_s", "", Quantity.SECONDS),
)  # fmt: skip
_WHOLE: Final = (("tokens_per_s", Quantity.TOKENS_PER_S), ("flop", Quantity.FLOP))
_UNITS: Final = (("_tera_eflop", "_eFLOP", "TeFLOP"), ("_tflop", "", "TFLOP"))


def document_lines(document: Mapping[str, Any]) -> list[str]:
    """`predicted: 28 us` for `predicted_s`, one line a key; lists below their key, indented."""
    return [printable(line) for key, value in document.items() for line in _lines(key, value)]


def labelled(key: str, value: Any) -> tuple[str, str]:
    """(what a key says, its value with its unit)."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        for name, quantity in _WHOLE:
            if key == name:
                return name.removesuffix("_per_s").replace("_", " "), tell(value, quantity)
        for ending, kept, quantity in _ENDINGS:
            if key.endswith(ending):
                return _words(key.removesuffix(ending)) + kept, tell(value, quantity)
        for part, kept, unit in _UNITS:
            if part in key:
                return _words(key.replace(part, kept)), f"{_six_digits(value)} {unit}"
    return _words(key), _plain(value)


def _lines(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, list | tuple) and value:
        yield f"{_words(key)}:"
        yield from (f"  {_plain(item)}" for item in value)
    else:
        yield ": ".join(labelled(key, value))


def _words(key: str) -> str:
    return key.removeprefix("num_").replace("_", " ")


def _plain(value: Any) -> str:
    """A value without a unit: mappings as `length 2, stop 5`."""
    if isinstance(value, Mapping):
        return ", ".join(" ".join(labelled(str(key), item)) for key, item in value.items()) or NOTHING
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _six_digits(value)
    return NOTHING if value is None or value == "" else str(value)


def _six_digits(value: float) -> str:
    """Six significant digits, thousands apart, never an exponent for what a person can read without."""
    if not math.isfinite(value):
        return NOTHING
    if value == 0 or isinstance(value, int):
        return f"{value:,.0f}"
    decimals = min(12, max(0, 5 - math.floor(math.log10(abs(value)))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
