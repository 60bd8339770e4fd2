"""Options by the kind of their value: one way of reading each, the same in every verb.

A wrong value is one line: `--trials must be at least 1, got 0`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import typer

from kinetics.specs.counts import MAX_COUNT, read_count
from kinetics.specs.names import did_you_mean

_DEVICES: Final = ("auto", "cpu", "cuda")
_LIMITS: Final = {True: "above", False: "of at least"}


def count_option(text: str, *names: str, least: int = 0, most: int = MAX_COUNT, hidden: bool = False) -> Any:
    """An option that takes a whole number: 32768, 32k, 32K, 1m."""
    return typer.Option(*names, help=text, parser=count(least, most), metavar="COUNT", hidden=hidden)


def number_option(text: str, *names: str, least: float = 0.0, most: float = math.inf, is_above: bool = False) -> Any:
    """An option that takes a finite number."""
    return typer.Option(*names, help=text, parser=number(least, most, is_above=is_above), metavar="NUMBER")


def seed_option(text: str) -> Any:
    """An option that takes a seed."""
    return typer.Option(help=text, parser=seed, metavar="COUNT")


def device_option(text: str = "auto, cpu, cuda or cuda:<index>.", *names: str) -> Any:
    """An option that takes a device of this machine."""
    return typer.Option(*names, help=text, parser=device, metavar="DEVICE")


def count(least: int = 0, most: int = MAX_COUNT) -> Callable[[Any], int]:
    """Whole numbers: 32768, 32k, 32K, 1m."""

    def parse(value: Any) -> int:
        if isinstance(value, int):  # a default
            return value
        found = read_count(value)
        if found is None:
            raise typer.BadParameter(f"must be a count such as 8 or 32k, got {_shown(value)}")
        if not least <= found <= most:
            rule = f"at least {least}" if found < least else f"at most {most}"
            raise typer.BadParameter(f"must be {rule}, got {found}")
        return found

    return parse


def number(least: float = 0.0, most: float = math.inf, *, is_above: bool = False) -> Callable[[Any], float]:
    """Finite numbers of at least `least`, or above it, and up to `most`."""

    def parse(value: Any) -> float:
        if isinstance(value, float | int):
            return float(value)
        try:
            found = float(value)
        except ValueError:
            found = math.nan
        is_low = found <= least if is_above else found < least
        if not math.isfinite(found) or is_low or found > most:
            end = "" if most == math.inf else f" and at most {most:g}"
            raise typer.BadParameter(f"must be a number {_LIMITS[is_above]} {least:g}{end}, got {_shown(value)}")
        return found

    return parse


def seed(value: Any) -> int:
    """Any whole number that the generators of random numbers take."""
    if isinstance(value, int):
        return value
    text = value.strip()
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
        raise typer.BadParameter(f"must be a whole number below 2^63, got {_shown(value)}")
    return int(text)


def device(value: str) -> str:
    """`auto`, `cpu`, `cuda` or `cuda:<index>`, in any case."""
    text = value.strip().lower()
    kind, colon, index = text.partition(":")
    is_index = index.isascii() and index.isdigit() and len(index) < 5
    if text in _DEVICES or (kind == "cuda" and colon and is_index):
        return text
    meant = "did you mean cuda?" if kind in ("gpu", "nvidia") else did_you_mean(kind, _DEVICES)
    remedy = f"; {meant}" if meant else ""
    raise typer.BadParameter(f"must be auto, cpu, cuda or cuda:<index>, got {_shown(value)}{remedy}")


def is_file_name(name: str) -> bool:
    """Whether a device is named by a result file."""
    return name.strip().lower().endswith((".json", ".json.gz"))


def _shown(value: str) -> str:
    return repr(value if len(value) <= 40 else f"{value[:37]}...")
