"""Sample tables: one graded answer a row, no text. CSV or JSON lines in, sample sets out.

Columns: model, dataset, question_id, trial, generated_length, length_unit, answer, gold, correct. Optional ones:
`policy`, dense without; `finish`, which is `length` for an answer that its cap stopped; `weight`, of its vote. Lengths
in characters are turned into tokens by a fixed ratio and labelled as estimates in whatever is made of them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kinetics.files.lines import Complaints, DataFileError, SkippedLine
from kinetics.files.reading import format_of
from kinetics.files.records import TRUTHS, has_columns, read_records
from kinetics.samples.counts import amount, count
from kinetics.samples.log_reader import FiledAnswer
from kinetics.samples.sample_set import Question, SampleSet
from kinetics.samples.tokenizers import CHARS_PER_TOKEN
from kinetics.specs.policies import policy_label
from kinetics.specs.policy_options import parse_attention

COLUMNS: Final = (
    "model", "dataset", "question_id", "trial", "generated_length", "length_unit", "answer", "gold", "correct",
)  # fmt: skip
_MAX_DIGITS: Final = 16
_NUMBERS: Final = re.compile(r"[0-9]+")
_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleTable:
    """A table read: its sample sets, and the rows left out."""

    sets: tuple[SampleSet, ...]
    left_out: tuple[SkippedLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    length: int
    is_estimated: bool
    answer: str
    gold: str
    is_correct: bool
    is_cut_off: bool | None
    weight: float | None
    line: int


def is_sample_table(path: Path) -> bool:
    """Whether a file is a table, by its name or, of JSON lines, by the columns of its first one.

    Raises: DataFileError if it cannot be read.
    """
    return format_of(path) == ".csv" or (format_of(path) == ".jsonl" and has_columns(path, COLUMNS))


def read_sample_table(path: Path, *, prompt_len: int, keeps_going: bool = False) -> SampleTable:
    """All sample sets of a table, one per model, data set and policy. `prompt_len` tokens stand for every prompt.

    Raises: DataFileError naming file and line: missing columns, unreadable rows, duplicate or missing trials,
    a question with two gold answers, lengths in tokens mixed with lengths in characters.
    """
    complaints = Complaints(path=path, keeps_going=keeps_going)
    sets: dict[_Key, dict[str, dict[int, _Row]]] = {}
    for line, record in read_records(path, complaints, COLUMNS):
        try:
            _file_row(sets, record, line)
        except ValueError as error:
            complaints.add(line, str(error))
    if not sets:
        raise DataFileError(f"{path}: must hold at least one sample, got none")
    found = tuple(
        _sample_set(key, questions, prompt_len=prompt_len, complaints=complaints) for key, questions in sets.items()
    )
    return SampleTable(sets=found, left_out=tuple(complaints.left_out))


def read_table_answers(path: Path, *, keeps_going: bool) -> tuple[list[FiledAnswer], list[SkippedLine]]:
    """Every answer of a table, put in a box as a text would have it, and the rows left out.

    Raises: DataFileError naming file and line.
    """
    complaints = Complaints(path=path, keeps_going=keeps_going)
    answers = []
    for line, record in read_records(path, complaints, COLUMNS):
        try:
            row = _read_row(record, line)
        except ValueError as error:
            complaints.add(line, str(error))
            continue
        text = f"\\boxed{{{row.answer}}}" if row.answer else "no answer"
        answers.append(FiledAnswer(line=line, text=text, gold=row.gold, is_recorded_correct=row.is_correct))
    if not answers:
        raise DataFileError(f"{path}: must hold at least one answer, got none")
    return answers, complaints.left_out


def _file_row(sets: dict[_Key, dict[str, dict[int, _Row]]], record: Mapping[str, str], line: int) -> None:
    """Put a row where it belongs.

    Raises: ValueError if it has bad values, its trial is there already, or it contradicts its question.
    """
    _check_policy(record.get("policy") or "")
    asked, num_dense_layers = parse_attention(record.get("policy") or "dense")
    key = (record["model"], record["dataset"], policy_label(asked, num_dense_layers=num_dense_layers))
    if not all(key) or not record["question_id"]:
        raise ValueError("model, dataset and question_id must not be empty")
    row, trial = _read_row(record, line), _count(record, "trial")
    trials = sets.setdefault(key, {}).setdefault(record["question_id"], {})
    if trial in trials:
        raise ValueError(
            f"trials must be there once, got trial {trial} of {record['question_id']} for {key[0]} here and in line "
            f"{trials[trial].line}"
        )
    first = next(iter(trials.values()), row)
    if first.gold != row.gold:
        raise ValueError(f"a question must have one gold answer, got {first.gold!r} in line {first.line}, {row.gold!r}")
    trials[trial] = row


def _check_policy(text: str) -> None:
    """The numbers of a policy are counts, which sums can be made of."""
    for number in _NUMBERS.findall(text):
        if len(number) >= _MAX_DIGITS:
            raise ValueError(f"policy must hold counts, got {number[:20]!r}")
        count(int(number), "policy")


def _read_row(record: Mapping[str, str], line: int) -> _Row:
    is_correct = TRUTHS.get(record["correct"].strip().lower())
    if is_correct is None:
        raise ValueError(f"correct must be 0 or 1, or true or false, got {record['correct'][:20]!r}")
    if record["length_unit"] not in ("tokens", "chars"):
        raise ValueError(f"length_unit must be tokens or chars, got {record['length_unit'][:20]!r}")
    is_estimated = record["length_unit"] == "chars"
    length = _count(record, "generated_length")
    return _Row(
        length=round(length / CHARS_PER_TOKEN) if is_estimated else length,
        is_estimated=is_estimated,
        answer=record["answer"],
        gold=record["gold"],
        is_correct=is_correct,
        is_cut_off=record["finish"] == "length" if record.get("finish") else None,
        weight=_weight(record["weight"]) if record.get("weight") else None,
        line=line,
    )


def _weight(text: str) -> float:
    try:
        return amount(float(text), "weight")
    except ValueError:
        raise ValueError(f"weight must be a number from 0 on, got {text[:20]!r}") from None


def _count(record: Mapping[str, str], column: str) -> int:
    text = record[column]
    if not (text.isascii() and text.isdigit() and len(text) < _MAX_DIGITS):
        raise ValueError(f"{column} must be a count, got {text[:20]!r}")
    return count(int(text), column)


def _sample_set(
    key: _Key, questions: Mapping[str, Mapping[int, _Row]], *, prompt_len: int, complaints: Complaints
) -> SampleSet:
    model, dataset, attention = key
    policy, num_dense_layers = parse_attention(attention)
    wanted = set().union(*questions.values())
    shared = wanted.intersection(*questions.values())
    for name, trials in questions.items():
        if len(trials) < len(wanted):
            absent = min(wanted - set(trials))
            line = max(row.line for row in trials.values())
            complaints.add(
                line, f"every question must have as many trials, got no trial {absent} of {name} for {model}"
            )
    if not shared:
        raise DataFileError(f"{complaints.path}: questions of {model} must share a trial, got none")
    rows = {name: [trials[trial] for trial in sorted(shared)] for name, trials in questions.items()}
    units = {row.is_estimated for group in rows.values() for row in group}
    if len(units) > 1:
        raise DataFileError(f"{complaints.path}: lengths of {model} must have one unit, got tokens and chars")
    return SampleSet(
        model=model,
        dataset=dataset,
        policy=policy,
        questions=tuple(_question(name, group, prompt_len) for name, group in rows.items()),
        has_estimated_lengths=units == {True},
        num_dense_layers=num_dense_layers,
    )


def _question(name: str, rows: list[_Row], prompt_len: int) -> Question:
    are_ends_known = all(row.is_cut_off is not None for row in rows)
    have_weights = all(row.weight is not None for row in rows)
    return Question(
        question_id=name,
        prompt_len=prompt_len,
        lengths=tuple(row.length for row in rows),
        is_correct=tuple(row.is_correct for row in rows),
        answers=tuple(row.answer for row in rows),
        is_cut_off=tuple([row.is_cut_off for row in rows if row.is_cut_off is not None]) if are_ends_known else (),
        weights=tuple([row.weight for row in rows if row.weight is not None]) if have_weights else (),
    )
