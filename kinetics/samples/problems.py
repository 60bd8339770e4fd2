"""The problems: AIME, HMMT, AMC, MATH-500 or any set from the Hugging Face hub, or a file of one's own.

Every source ends as the same checked list: unique ids and texts, gold answers as integers from 0 to 999 or as
expressions. Whatever cannot be used is refused before anything is generated.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import isfinite
from pathlib import Path
from typing import Any, Final

from kinetics.files.json_text import check_encodable, parse_json
from kinetics.files.lines import Complaints, DataFileError, read_lines
from kinetics.files.reading import format_of, read_text
from kinetics.samples.grading import parse_answer
from kinetics.specs.distribution import install_command

MAX_MARKS: Final = 30
MAX_FILE_BYTES: Final = 64 * 2**20
"""Of a file of problems: ten thousand contests take less."""
_ID, _TEXT, _GOLD = COLUMNS = ("id", "problem", "answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One question: an id that names it in logs, its text, and the right answer: an integer, or an expression."""

    problem_id: str
    text: str
    gold: int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class HubDataset:
    """Where a contest stands on the hub, and how many problems must be there, if that is known."""

    hub_id: str
    split: str
    num_problems: int | None
    has_integer_answers: bool = False


HUB_DATASETS: Final[Mapping[str, HubDataset]] = {
    "aime24": HubDataset(hub_id="HuggingFaceH4/aime_2024", split="train", num_problems=30, has_integer_answers=True),
    "aime25": HubDataset(hub_id="math-ai/aime25", split="test", num_problems=30, has_integer_answers=True),
    "aime26": HubDataset(hub_id="MathArena/aime_2026", split="train", num_problems=30, has_integer_answers=True),
    "hmmt25": HubDataset(hub_id="MathArena/hmmt_feb_2025", split="train", num_problems=30),
    "amc23": HubDataset(hub_id="math-ai/amc23", split="test", num_problems=40, has_integer_answers=True),
    "math500": HubDataset(hub_id="HuggingFaceH4/MATH-500", split="test", num_problems=500),
}
_HUB_ID: Final = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)
_OTHER_NAMES: Final = {"question": "problem", "unique_id": "id", "problem_idx": "id"}
"""What data sets on the hub call the columns."""


def question_id(text: str) -> str:
    """An identity that survives reordering, spacing and Unicode forms of a question.

    Raises: ValueError if more marks stand on one character than Unicode's own limit for streams allows: bringing them
    into order would take for ever. Source: Unicode Standard Annex 15, stream-safe text.
    """
    if not text.isascii() and _longest_run_of_marks(text) > MAX_MARKS:
        raise ValueError(f"a question must have at most {MAX_MARKS} marks on one character, got {text[:40]!r}")
    normalised = " ".join(unicodedata.normalize("NFKC", text).split())
    return hashlib.sha256(normalised.encode()).hexdigest()[:12]


def _longest_run_of_marks(text: str) -> int:
    return max(sum(1 for _ in run) if is_mark else 0 for is_mark, run in groupby(text, key=_is_mark))


def _is_mark(char: str) -> bool:
    return unicodedata.combining(char) > 0


def load_problems(name: str) -> tuple[Problem, ...]:
    """The problems of a known contest, or of any `ORG/NAME:SPLIT` of the hub, kept in the cache of `datasets`.

    Raises: ValueError for another name, without a network or the package, or if the problems are not those expected.
    """
    source = HUB_DATASETS.get(name) or _parse_hub_id(name)
    datasets = _import_datasets()
    try:
        rows = datasets.load_dataset(source.hub_id, split=source.split)
    except Exception as error:  # the hub's clients raise many kinds; all mean that there are no problems
        raise ValueError(
            f"{source.hub_id} cannot be fetched ({type(error).__name__}); "
            f"give a file of the same problems: --problems FILE with columns {', '.join(COLUMNS)}"
        ) from error
    problems = parse_problems(rows, rows.column_names, source=source.hub_id)
    if source.num_problems is not None and len(problems) != source.num_problems:
        raise ValueError(
            f"{source.hub_id} must hold {source.num_problems} problems, got {len(problems)}; "
            "give the right ones with --problems FILE"
        )
    for problem in problems:
        if source.has_integer_answers and not isinstance(problem.gold, int):
            raise ValueError(f"{source.hub_id}: problem {problem.problem_id} must have an integer, got {problem.gold}")
    return problems


def _parse_hub_id(name: str) -> HubDataset:
    hub_id, _, split = name.partition(":")
    if not _HUB_ID.fullmatch(hub_id):
        raise ValueError(
            f"--dataset must be one of {', '.join(HUB_DATASETS)}, or ORG/NAME:SPLIT of the hub, got {name!r}; "
            "or name a file: --problems"
        )
    return HubDataset(hub_id=hub_id, split=split or "test", num_problems=None)


def read_problems(path: Path) -> tuple[Problem, ...]:
    """The problems in a JSONL, JSON, CSV or parquet file with columns id, problem and answer.

    Raises: ValueError naming the file, and the problem where one is at fault.
    """
    read = _READERS.get(format_of(path))
    if read is None:
        raise DataFileError(f"{path}: problems must be a {', '.join(_READERS)} file, got {path.suffix!r}")
    try:
        rows = read(path)
    except OSError as error:
        raise DataFileError(f"{path}: cannot be read ({error.strerror})") from None
    except DataFileError:
        raise
    except ValueError as error:
        reason = str(error).split("\n", maxsplit=1)[0][:200]
        raise DataFileError(f"{path}: problems must be rows of {', '.join(COLUMNS)}, got {reason}") from None
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return parse_problems(rows, columns if rows else COLUMNS, source=str(path))


def _read_jsonl(path: Path) -> list[Mapping[str, Any]]:
    complaints = Complaints(path=path, keeps_going=False)
    found = []
    for line, text in read_lines(path, complaints):
        try:
            found.append(_object(parse_json(text)))
        except ValueError as error:
            raise ValueError(f"line {line}: {error}") from None
    return found


def _read_json(path: Path) -> list[Mapping[str, Any]]:
    found = parse_json(_text_of(path))
    if not isinstance(found, list):
        raise ValueError(f"{type(found).__name__} where a list must be")
    return [_object(row) for row in found]


def _read_csv(path: Path) -> list[Mapping[str, Any]]:
    try:
        rows = list(csv.reader(io.StringIO(_text_of(path), newline=""), strict=True))
    except csv.Error as error:
        raise ValueError(str(error)) from None
    columns = rows[0] if rows else []
    for number, row in enumerate(rows[1:], start=1):
        if row and len(row) != len(columns):
            raise ValueError(f"row {number} of {len(row)} fields for {len(columns)} columns")
    return [dict(zip(columns, row, strict=True)) for row in rows[1:] if row]


def _read_parquet(path: Path) -> list[Mapping[str, Any]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise ValueError(f"a parquet file, which needs pyarrow; {install_command('aime')}") from error
    try:
        rows: list[Mapping[str, Any]] = parquet.read_table(path).to_pylist()
    except FileNotFoundError:
        raise
    except (ArrowException, OSError) as error:
        raise ValueError(str(error)) from error
    return rows


_READERS: Final[Mapping[str, Callable[[Path], list[Mapping[str, Any]]]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}


def _text_of(path: Path) -> str:
    return read_text(path, max_bytes=MAX_FILE_BYTES)


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{type(value).__name__} where an object must be")
    return value


def parse_problems(rows: Any, columns: Sequence[str], *, source: str) -> tuple[Problem, ...]:
    """Checked problems of an iterable of mappings; without a column `id` they are numbered from 0.

    Raises: ValueError naming source and problem.
    """
    own = {other: name for other, name in _OTHER_NAMES.items() if other in columns and name not in columns}
    columns = [own.get(name, name) for name in columns]
    missing = [name for name in (_TEXT, _GOLD) if name not in columns]
    if missing:
        raise DataFileError(f"{source}: problems must have a column {missing[0]!r}, got {', '.join(columns)[:120]}")
    renamed = ({own.get(name, name): value for name, value in row.items()} for row in rows)
    problems = [_parse(row, index, source) for index, row in enumerate(renamed)]
    if not problems:
        raise DataFileError(f"{source}: must hold at least one problem, got none")
    check_unique(problems, source=source)
    return tuple(problems)


def check_unique(problems: Sequence[Problem], *, source: str) -> None:
    """Refuse problems that a log could not tell apart.

    Raises: ValueError naming both.
    """
    for what, key_of in (("id", lambda p: p.problem_id), ("text", lambda p: question_id(p.text))):
        first: dict[str, Problem] = {}
        for problem in problems:
            other = first.setdefault(key_of(problem), problem)
            if other is not problem:
                raise DataFileError(
                    f"{source}: problems must differ in {what}, got {other.problem_id} and {problem.problem_id} alike"
                )


def _parse(row: Mapping[str, Any], index: int, source: str) -> Problem:
    given = row.get(_ID)
    name = str(index) if given is None or given == "" else str(given)
    text = row.get(_TEXT)
    if not isinstance(text, str) or not text.strip():
        raise DataFileError(f"{source}: problem {name[:40]} must have a text, got {str(text)[:40]!r}")
    try:
        check_encodable(name, "id")
        check_encodable(text, "text")
        question_id(text)
        gold = parse_answer(_plain(row.get(_GOLD)))
    except ValueError as error:
        raise DataFileError(f"{source}: problem {name[:40]}: {error}") from None
    return Problem(problem_id=name, text=text, gold=gold)


def _plain(answer: Any) -> str:
    """An answer as text; a column of integers with gaps arrives as floats.

    Raises: ValueError for what is neither text nor a finite number.
    """
    is_number = isinstance(answer, int) or (isinstance(answer, float) and isfinite(answer))
    if isinstance(answer, bool) or not (is_number or isinstance(answer, str)):
        raise ValueError(f"gold answer must be an integer or an expression, got {str(answer)[:40]!r}")
    is_whole = isinstance(answer, float) and answer.is_integer()
    return str(int(answer)) if is_whole else str(answer)


def _import_datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise ValueError(f"reading problems needs the package datasets; {install_command('aime')}") from error
    datasets.disable_progress_bars()
    return datasets
