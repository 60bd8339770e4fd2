"""A verb whose options are the fields of one dataclass: declared once, filled by the parser."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

_Options = TypeVar("_Options")


def options_from(options_class: type[_Options]) -> Callable[[Callable[[_Options], None]], Callable[..., None]]:
    """Give a verb of one argument an option per field of `options_class`, whose annotations are typer's."""
    hints = get_type_hints(options_class, include_extras=True)
    parameters = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(options_class)  # type: ignore[arg-type]
    ]

    def decorate(verb: Callable[[_Options], None]) -> Callable[..., None]:
        def filled(**values: Any) -> None:
            verb(options_class(**values))

        filled.__name__, filled.__doc__ = verb.__name__, verb.__doc__
        filled.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        filled.__annotations__ = {name: hints[name] for name in (parameter.name for parameter in parameters)}
        return filled

    return decorate


def fields_of(target: type[_Options], source: Any, **others: Any) -> _Options:
    """A `target` dataclass made of the fields of `source` that bear the same names, and of `others`."""
    shared = {field.name: getattr(source, field.name) for field in fields(target) if hasattr(source, field.name)}  # type: ignore[arg-type]
    return target(**{**shared, **others})
