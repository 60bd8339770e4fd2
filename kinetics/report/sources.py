"""What a page is made of: result files, a baseline, and the frontiers of law documents.

Reads and checks; draws nothing. A file is a law document if it says `tasks` and no `benchmarks`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kinetics.compare import Comparison, compare_files, is_one_device
from kinetics.data_files import DataFileError
from kinetics.law_document import SCHEMA as LAW_SCHEMA
from kinetics.result_files import ResultFile, read_result_files

_NUMBER_LISTS: Final = ("cost_tera_eflop", "seconds", "accuracy")


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
class Sources:
    """Everything that a page shows. `regressions` holds one comparison per file of the baseline's device."""

    files: tuple[ResultFile, ...]
    tasks: tuple[LawTask, ...]
    baseline: ResultFile | None
    regressions: tuple[Comparison, ...]


def read_sources(paths: Sequence[Path], *, baseline: Path | None) -> Sources:
    """Result files and law documents, and the runs that can be held against the baseline.

    Raises: DataFileError naming a file that is neither, or a baseline of a device that no file shares.
    """
    laws = {path: document for path in paths if (document := _law_document(path)) is not None}
    result_paths = [path for path in paths if path not in laws]
    read = read_result_files(result_paths + ([baseline] if baseline else []))
    files, base = (read[:-1], read[-1]) if baseline else (read, None)
    return Sources(
        files=tuple(files),
        tasks=tuple(task for path, document in laws.items() for task in _read_tasks(path, document)),
        baseline=base,
        regressions=tuple(_regressions(files, base)) if base else (),
    )


def _regressions(files: Sequence[ResultFile], base: ResultFile) -> list[Comparison]:
    same = [file for file in files if is_one_device([base, file])]
    if not same:
        raise DataFileError(
            f"{base.path}: baseline must be of the device of another file, got {base.device} alone; "
            "across devices use kinetics compare"
        )
    return [compare_files([base, file]) for file in same]


def _law_document(path: Path) -> Mapping[str, Any] | None:
    """The file as a law document, or None: other errors are for the reader of result files to name."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
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
    except (KeyError, TypeError, ValueError) as error:
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
