"""Frontiers read back from law documents, and what reaches an accuracy most cheaply on each device.

A file is a law document (`kinetics law --json`) if it says `tasks` and no `benchmarks`. Nothing is priced here: a
document priced in seconds measured on a device (`--measured`) speaks of that device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kinetics.files.json_text import parse_json
from kinetics.files.reading import DataFileError, read_text
from kinetics.law.claims import BEST_OF_N, LONG_COT
from kinetics.law.document import SCHEMA as LAW_SCHEMA

_NUMBER_LISTS: Final = ("cost_tera_eflop", "seconds", "accuracy")
ACCURACIES: Final = tuple(step / 10 for step in range(1, 10))
"""The accuracies that choices are compared at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierLine:
    """The best accuracy that one attention family buys at each cost, and the model that gives it."""

    attention: str
    seconds: Sequence[float]
    accuracy: Sequence[float]
    best_model: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LawTask:
    """The frontiers of one way of spending, and where their numbers come from."""

    task: str
    source: str
    pricing: str
    device: str
    lines: tuple[FrontierLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The cheapest way to an accuracy on one device."""

    device: str
    attention: str
    model: str
    seconds: float
    pricing: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceAt:
    """The choices of all devices that reach an accuracy in one way of spending."""

    task: str
    accuracy: float
    choices: tuple[Choice, ...]

    @property
    def changes(self) -> bool:
        """Whether two devices choose another attention or model."""
        return len({(choice.attention, choice.model) for choice in self.choices}) > 1

    @property
    def is_of_one_source(self) -> bool:
        """Whether all choices rest on the same samples: otherwise a change need not be the device's doing."""
        return len({choice.source for choice in self.choices}) == 1


def compare_choices(tasks: Sequence[LawTask]) -> list[ChoiceAt]:
    """For each way of spending and each accuracy that two documents reach: their choices.

    Tasks priced by another law (compute alone, the larger of both) are no seconds of a device and are left aside.
    """
    found = []
    for name in (LONG_COT, BEST_OF_N):
        for accuracy in ACCURACIES:
            reached = [cheapest(task, accuracy) for task in tasks if task.task == name]
            choices = tuple(choice for choice in reached if choice is not None)
            if len(choices) > 1:
                found.append(ChoiceAt(task=name, accuracy=accuracy, choices=choices))
    return found


def choice_remarks(tasks: Sequence[LawTask]) -> list[str]:
    """What the choices rest on: how each document was priced, and whether all speak of the same samples."""
    lines = [f"Choices on {task.device}: {task.pricing}; samples: {task.source}" for task in tasks]
    if len({task.source for task in tasks}) > 1:
        lines.append("Choices rest on different samples: a change of choice need not be the device's doing")
    return list(dict.fromkeys(lines))


def cheapest(task: LawTask, accuracy: float) -> Choice | None:
    """The first point of any family, in order of time, that reaches an accuracy; None if none does."""
    points = [
        Choice(
            device=task.device,
            attention=line.attention,
            model=model,
            seconds=seconds,
            pricing=task.pricing,
            source=task.source,
        )
        for line in task.lines
        for seconds, reached, model in zip(line.seconds, line.accuracy, line.best_model, strict=True)
        if reached >= accuracy
    ]
    return min(points, key=lambda choice: choice.seconds, default=None)


def split_law_documents(paths: Sequence[Path]) -> tuple[list[LawTask], list[Path]]:
    """(the tasks of all law documents among some files, the other files).

    Raises: DataFileError naming a law document that cannot be used.
    """
    laws = {path: document for path in paths if (document := _law_document(path)) is not None}
    tasks = [task for path, document in laws.items() for task in _read_tasks(path, document)]
    return tasks, [path for path in paths if path not in laws]


def _law_document(path: Path) -> Mapping[str, Any] | None:
    """The file as a law document, or None: other errors are for the reader of result files to name."""
    try:
        text = read_text(path)
        document: Any = parse_json(text) if '"tasks"' in text else None
    except ValueError:
        return None
    is_law = isinstance(document, dict) and isinstance(document.get("tasks"), list) and "benchmarks" not in document
    if is_law and document.get("schema") != LAW_SCHEMA:
        raise DataFileError(
            f"{path}: schema must be {LAW_SCHEMA}, got {document.get('schema')!r}; run kinetics law again"
        )
    return document if is_law else None


def _read_tasks(path: Path, document: Mapping[str, Any]) -> list[LawTask]:
    try:
        return [
            LawTask(
                task=str(task["task"]),
                source=str(document["source"]),
                pricing=str(document["pricing"]),
                device=str(document["device"]),
                lines=tuple(_read_line(frontier) for frontier in task["frontiers"]),
            )
            for task in document["tasks"]
        ]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataFileError(f"{path}: law document cannot be used ({error}); run kinetics law --json again") from error


def _read_line(frontier: Mapping[str, Any]) -> FrontierLine:
    """Raises: ValueError unless all lists are equally long and hold numbers."""
    lists = {name: [float(value) for value in frontier[name]] for name in _NUMBER_LISTS}
    models = [str(name) for name in frontier["best_model"]]
    if len({len(models), *map(len, lists.values())}) != 1:
        raise ValueError("lists of a frontier must be equally long, got unlike ones")
    return FrontierLine(
        attention=str(frontier["attention"]), seconds=lists["seconds"], accuracy=lists["accuracy"], best_model=models
    )
