"""What a declared field of a result row is: kind, heading, meaning, role, which rows carry it, who shows it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, Flag, auto
from typing import Annotated, Any, Final

import msgspec

from kinetics.tables.display import Column
from kinetics.tables.quantity import Quantity

_LARGEST: Final = 1.7976931348623157e308
_LARGEST_COUNT: Final = 2**53 - 1
"""Larger ones are no numbers to whoever reads JSON into floats."""


class Role(Enum):
    """What a field says of its row."""

    WORK = "work"
    """What was computed: rows of two devices belong together if they agree in it."""
    MANNER = "manner"
    """How it was computed: runs on one device must agree in it, and devices that differ in it are told so."""
    MEASUREMENT = "measurement"
    """What came out, or what it is held against."""


class Rows(Flag):
    """Which rows carry a field in the file."""

    NONE = 0
    KERNEL = auto()
    STEP = auto()
    AIME = auto()
    LAW = auto()
    TIMED = KERNEL | STEP


class View(Flag):
    """Who shows a field unasked. Everything stands in JSON and CSV, and in the page's table of columns."""

    NOWHERE = 0
    SUMMARY = auto()
    STEPS = auto()
    COMPARE = auto()
    REPORT = auto()
    PAGES = COMPARE | REPORT
    EVERYWHERE = SUMMARY | COMPARE | REPORT


class Form(Enum):
    """How a field holds its values."""

    ONE = "one"
    BY_NAME = "by name"
    LIST = "list"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field. `least`: the smallest value it may have; None if any number will do."""

    name: str
    quantity: Quantity
    heading: str
    meaning: str
    role: Role = Role.MEASUREMENT
    rows: Rows = Rows.TIMED
    view: View = View.NOWHERE
    least: float | None = 0.0
    form: Form = Form.ONE

    @property
    def column(self) -> Column:
        """The column of a table that shows this field."""
        return Column(name=self.name, quantity=self.quantity, heading=self.heading)

    @property
    def checked_type(self) -> Any:
        """The type that a value must have."""
        one = self._one_type
        if self.form is Form.ONE:
            return one
        return dict.__class_getitem__((str, one | None)) if self.form is Form.BY_NAME else list.__class_getitem__(one)

    @property
    def _one_type(self) -> Any:
        if self.quantity is Quantity.TEXT:
            return str
        if self.quantity is Quantity.FLAG:
            return bool
        if self.quantity in (Quantity.COUNT, Quantity.TOKENS):
            return Annotated[int, msgspec.Meta(ge=int(self.least or 0), le=_LARGEST_COUNT)]
        return Annotated[float, msgspec.Meta(ge=-_LARGEST if self.least is None else self.least, le=_LARGEST)]

    @property
    def rule(self) -> str:
        """What a value must be, for errors."""
        if self.form is not Form.ONE:
            return "values by name" if self.form is Form.BY_NAME else "a list"
        if self.quantity is Quantity.TEXT:
            return "text"
        if self.quantity is Quantity.FLAG:
            return "true or false"
        if self.quantity in (Quantity.COUNT, Quantity.TOKENS):
            return "a count above 0" if self.least else "a count"
        return "a finite number" + ("" if self.least is None else f" of at least {self.least:g}")


def work(name: str, quantity: Quantity, heading: str, rows: Rows, view: View, meaning: str) -> Field:
    """A field of what was computed; counts of it are above 0."""
    return Field(
        name=name, quantity=quantity, heading=heading, meaning=meaning, role=Role.WORK, rows=rows, view=view, least=1
    )


def manner(name: str, quantity: Quantity, heading: str, rows: Rows, view: View, meaning: str) -> Field:
    """A field of how it was computed."""
    return Field(
        name=name, quantity=quantity, heading=heading, meaning=meaning, role=Role.MANNER, rows=rows, view=view, least=1
    )


def found(
    name: str,
    quantity: Quantity,
    heading: str,
    rows: Rows,
    view: View,
    meaning: str,
    *,
    least: float | None = 0.0,
    form: Form = Form.ONE,
) -> Field:
    """A field of what came out."""
    return Field(
        name=name, quantity=quantity, heading=heading, meaning=meaning, rows=rows, view=view, least=least, form=form
    )
