"""How verbs end on what a caller can cause: one line on stderr and the exit code of its class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import typer

from kinetics.files.printable import one_line

EXIT_USAGE: Final = 2
EXIT_INVALID: Final = 3
_MAX_CHARS: Final = 1500


def ended(message: str, code: int) -> typer.Exit:
    """Say why on stderr, in one line whatever a stranger's file put into it; raise what is returned."""
    typer.echo(f"kinetics: {one_line(message, limit=_MAX_CHARS)}", err=True)
    return typer.Exit(code)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Within it, unusable files exit 3, any other wrong value and a missing extra 2."""
    from kinetics.files.lines import DataFileError

    try:
        yield
    except DataFileError as error:
        raise ended(str(error), EXIT_INVALID) from None
    except (ValueError, RuntimeError) as error:
        raise ended(str(error), EXIT_USAGE) from None
