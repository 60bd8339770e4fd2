"""Plain values from files as typed ones, or one line that says which value breaks which rule.

msgspec checks; its words become the project's: where, rule, got.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

import msgspec

Checked = TypeVar("Checked")

_RULES = {
    "str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "object": "an object",
    "array": "a list", "null": "null",
}  # fmt: skip


class BrokenValueError(ValueError):
    """A value breaks a rule. `where`: its place, such as `machine_info.device`; `got`: the value, shortened."""

    def __init__(self, where: str, rule: str, got: str) -> None:
        super().__init__(f"{where} must be {rule}, got {got}")
        self.where = where
        self.rule = rule
        self.got = got


def checked(value: Any, kind: type[Checked]) -> Checked:
    """`value` as `kind`, a msgspec struct or a dataclass; nothing is coerced but whole numbers to numbers.

    Raises: BrokenValueError naming the first value that does not fit.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _broken(value, str(error)) from None


def checked_exactly(value: Mapping[str, Any], kind: type[Checked]) -> Checked:
    """`checked`, for records of which a field too many would be another version's.

    Raises: BrokenValueError naming the first value that does not fit, or a field that `kind` does not have.
    """
    if not isinstance(value, Mapping):
        raise BrokenValueError("the document", "an object", shown(value))
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(value.keys() - names):
        raise BrokenValueError(unknown[0], "left out", shown(value[unknown[0]]))
    return checked(value, kind)


def shown(value: Any) -> str:
    """A value in an error: its Python form, at most 40 characters."""
    return repr(value)[:40]


def _broken(value: Any, message: str) -> BrokenValueError:
    words, _, place = message.partition(" - at `$")
    path = place.removesuffix("`").removeprefix(".")
    if missing := re.search(r"missing required field `(\w+)`", words):
        return BrokenValueError(f"{path}.{missing.group(1)}".removeprefix("."), "given", "none")
    found = re.search(r"got `(\w+)`", words)
    got = shown(_value_at(value, path)) if "[" not in path else _RULES.get(found.group(1), "") if found else ""
    return BrokenValueError(path or "the document", _rule(words), got or "another")


def _rule(words: str) -> str:
    """msgspec's expectation in plain words: "Expected `int | null`, got `str`" is a whole number or null."""
    expected = re.search(r"Expected `([^`]+)`(.*?)(, got|$)", words)
    if expected is None:
        return f"valid ({words[0].lower()}{words[1:]})"
    names = [_RULES.get(name.strip(), name.strip()) for name in expected.group(1).split("|")]
    return " or ".join(names) + expected.group(2).rstrip()


def _value_at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else value
    return value
