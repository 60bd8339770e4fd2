"""How the command ends on what a caller can cause: one line on stderr (subject, rule, got, remedy), one exit code.

The words of typer, click and pydantic are translated here and nowhere else. What only we can break keeps its traceback.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, Final

import typer
from typer.core import TyperGroup

from kinetics.files.printable import one_line
from kinetics.specs.names import did_you_mean

USAGE_ERROR: Final[Any] = typer.BadParameter.__mro__[1]  # typer carries its own click, or depends on click
"""What typer raises for a command line that it cannot read."""


class ExitCode(IntEnum):
    """What the command ends with; the same cause has the same code in every verb."""

    FINE = 0
    FOUND = 1
    """SLOW, MISSING, a failed claim, or lost work."""
    USAGE = 2
    """A value that cannot be meant, or something that is not installed."""
    INVALID = 3
    """A file, a device or an environment that cannot be used."""
    AMBIGUOUS = 5
    INTERRUPTED = 130


EXIT_USAGE: Final = ExitCode.USAGE
EXIT_INVALID: Final = ExitCode.INVALID
_MAX_CHARS: Final = 1500


class Verbs(TyperGroup):
    """The group of all verbs: whatever ends one of them early ends here."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run a verb; say in one line what ended it, and exit with its code."""
        try:
            result = super().main(*args, **{**extra, "standalone_mode": False})
            code = result if isinstance(result, int) else ExitCode.FINE
        except USAGE_ERROR as error:
            code = _say_usage(error)
        except BrokenPipeError:  # the reader of a pipe had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = ExitCode.FOUND
        if standalone_mode:
            sys.exit(code)
        return code

    def invoke(self, ctx: Any) -> Any:
        """Run a verb; what a caller caused becomes its line and its code."""
        with one_line_errors():
            try:
                return super().invoke(ctx)
            except USAGE_ERROR as error:
                raise typer.Exit(_say_usage(error, f"{ctx.command_path} {ctx.invoked_subcommand}")) from None
            except KeyboardInterrupt:
                raise ended("interrupted", ExitCode.INTERRUPTED) from None


def ended(message: str, code: int) -> typer.Exit:
    """Say why on stderr; raise what is returned."""
    return typer.Exit(_say(message, code))


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Within it, whatever a caller can cause ends in one line; an error's `exit_code` says how, 2 if it has none."""
    try:
        yield
    except (typer.Exit, typer.Abort, USAGE_ERROR, BrokenPipeError):
        raise
    except OSError as error:
        raise ended(f"{error.filename or 'a file'}: cannot be used ({error.strerror})", ExitCode.INVALID) from None
    except MemoryError:
        raise ended("memory must hold what was asked for, got too little; ask for less", ExitCode.INVALID) from None
    except (ValueError, RuntimeError, OverflowError) as error:
        raise ended(str(error), getattr(error, "exit_code", ExitCode.USAGE)) from None


def usage_line(error: Any, command: str = "kinetics") -> str:
    """A command line that cannot be read, as the project says such things; `command`: where the error knows of none."""
    command = error.ctx.command_path if error.ctx else command
    params = error.ctx.command.params if error.ctx else ()
    known = [name for one in params if not getattr(one, "hidden", False) for name in one.opts]
    message = error.format_message()
    if option := getattr(error, "option_name", ""):
        if "requires an argument" in message:
            return f"{option} must have a value, got none; see {command} --help"
        if "does not take a value" in message:
            return f"{option} must stand alone, got a value; leave the value out"
        return f"{command} has no option {option}; {did_you_mean(option, known) or f'see {command} --help'}"
    if verb := re.match(r"No such command '(.*?)'", message):
        return f"{command} has no verb {verb[1]!r}; {_close_verb(error, verb[1]) or f'see {command} --help'}"
    if extra := re.match(r"Got unexpected extra argument\S* \((.*)\)", message):
        return f"{command} must be given what its help names, got {extra[1]!r} too many; see {command} --help"
    if isinstance(error, typer.BadParameter):
        return _parameter_line(error, command)
    return f"{message.rstrip('.')}; see {command} --help"


def _close_verb(error: Any, verb: str) -> str:
    commands = getattr(error.ctx.command, "commands", {})
    return did_you_mean(verb, [name for name, one in commands.items() if not one.hidden])


def _parameter_line(error: Any, command: str) -> str:
    """What is wrong with one option or argument."""
    subject = _subject(error.param)
    if type(error).__name__ == "MissingParameter":
        return f"{subject} must be given, got none; see {command} --help"
    message = error.message.removeprefix("Value error, ")
    if message.startswith("must "):
        return f"{subject} {message}"
    if choice := re.match(r"'?(.*?)'? is not one of (.*?)\.?$", message):
        choices = re.findall(r"'([^']*)'", choice[2])
        remedy = did_you_mean(choice[1], choices)
        return f"{subject} must be one of {', '.join(choices)}, got {choice[1]!r}{remedy and f'; {remedy}'}"
    kinds = {"integer": "a whole number", "number": "a number", "float": "a number", "boolean": "true or false"}
    rule = next((words for kind, words in kinds.items() if f"valid {kind}" in message), "")
    got = _input(error)
    return f"{subject} must be {rule or f'valid ({message})'}{got and f', got {got}'}"


def _subject(param: Any) -> str:
    if param is None:
        return "a value"
    return str(max(param.opts, key=len) if param.param_type_name == "option" else param.metavar or param.name)


def _input(error: Any) -> str:
    """The value that did not do, where the error knows it."""
    if match := re.match(r"'(.*)' is not a", error.message):
        return repr(match[1])[:60]
    errors = getattr(error.__cause__, "errors", None)
    return repr(errors()[0].get("input"))[:60] if errors else ""


def _say_usage(error: Any, command: str = "kinetics") -> int:
    """The help, where nothing was asked for; else one line."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return ExitCode.USAGE
    return _say(usage_line(error, command), ExitCode.USAGE)


def _say(message: str, code: int) -> int:
    """One line on stderr whatever a stranger's file put into it; the code."""
    typer.echo(f"kinetics: {one_line(message, limit=_MAX_CHARS)}", err=True)
    return code
