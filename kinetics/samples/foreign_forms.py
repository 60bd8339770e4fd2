"""What a form of answers of another program is: how it is recognised, and what becomes of its records."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kinetics.samples.problems import Problem

_TRIAL: Final = re.compile(r"[-_/:#.]\d+\Z")
"""What names of requests add to the id of a problem: a trial's number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file that is being read; `seen` is for what its records must remember of each other.

    `problems`: by their ids, in their order; none if none were given.
    """

    path: Path
    problems: Mapping[str, Problem] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)

    def problem(self, request_id: Any) -> Problem:
        """The problem that a request asked, by its id, which a trial's number may follow.

        Raises: ValueError without problems, or if none has the id.
        """
        self.check_problems()
        name = str(request_id)
        found = self.problems.get(name) or self.problems.get(_TRIAL.sub("", name))
        if found is None:
            raise ValueError(f"a request must be named by the id of a problem, got {name[:40]!r}")
        return found

    def check_problems(self) -> None:
        """Raises: ValueError without problems."""
        if not self.problems:
            raise ValueError(
                "answers of servers lack query and choices; give questions and gold answers with --problems FILE"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignForm:
    """A form of answers: its name in sentences, fields that tell it from others, and its reader.

    `facts`: model and task, as far as file and first record say. `samples`: records of trace files.
    """

    name: str
    fields: tuple[str, ...]
    facts: Callable[[Mapping[str, Any], Source], dict[str, Any]]
    samples: Callable[[Mapping[str, Any], Source], Iterable[dict[str, Any]]]

    def lacking(self, record: Mapping[str, Any]) -> list[str]:
        """Fields that a record of this form must have and this one does not."""
        return [name for name in self.fields if name not in record]

    def has_fields(self, record: Mapping[str, Any]) -> bool:
        """Whether a record is of this form."""
        return not self.lacking(record)

    def num_fields(self, record: Mapping[str, Any]) -> int:
        """How many of the form's fields a record has."""
        return len(self.fields) - len(self.lacking(record))


def sample(query: str, gold: Any, text: Any, **known: Any) -> dict[str, Any]:
    """A record of a trace file; what is not known is left out."""
    record = {"query": query, "choices": [plain(gold)], "prediction": [text]}
    return record | {name: value for name, value in known.items() if value is not None}


def plain(gold: Any) -> Any:
    """A gold answer as text: one of a list of one, an integer that a table kept as a float."""
    if isinstance(gold, list) and len(gold) == 1:
        return plain(gold[0])
    if isinstance(gold, float) and gold.is_integer():
        return str(int(gold))
    return str(gold) if isinstance(gold, int) and not isinstance(gold, bool) else gold


def lists(record: Mapping[str, Any], *names: str) -> list[list[Any]]:
    """Lists of a record, one value an answer each.

    Raises: ValueError if one is no list, or two differ in length.
    """
    found = []
    for name in names:
        if not isinstance(record[name], list):
            raise ValueError(f"{name} must be a list, got {type(record[name]).__name__}")
        found.append(record[name])
        if len(found[-1]) != len(found[0]):
            raise ValueError(f"{names[0]} and {name} must be as many, got {len(found[0])} and {len(found[-1])}")
    return found
