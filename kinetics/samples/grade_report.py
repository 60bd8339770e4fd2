"""Grades of one answer or of a whole file as documents, with the places where graders disagree."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kinetics.files.lines import DataFileError
from kinetics.files.reading import format_of
from kinetics.samples.grading import Grade, find_disagreements, grade_strict
from kinetics.samples.log_reader import FiledAnswer, read_trace_answers
from kinetics.samples.paper_grader import PaperGrader
from kinetics.samples.problems import read_problems
from kinetics.samples.sample_records import SUFFIXES
from kinetics.samples.sample_tables import is_sample_table, read_table_answers

MAX_LISTED = 50


def grade_text(text: str, gold: str, *, grader: str) -> dict[str, Any]:
    """Verdict and extracted answer; `reason` says why there is none."""
    if grader == "strict":
        grade = grade_strict(text, gold)
    else:
        with PaperGrader() as paper:
            grade = paper.grade(text, gold)
    return {"correct": grade.is_correct, "answer": grade.answer, "grader": grader, "reason": grade.reason}


def grade_file(path: Path, *, grader: str, keeps_going: bool, problems_file: Path | None = None) -> dict[str, Any]:
    """Counts by grader over answers in a known form or a table; under the paper's grader also where strict disagrees.

    Raises: DataFileError for a file that is unreadable or in no known form, or a gold answer that is no AIME answer.
    """
    if format_of(path) in SUFFIXES and not is_sample_table(path):
        problems = read_problems(problems_file) if problems_file else ()
        answers, left_out = read_trace_answers(path, keeps_going=keeps_going, problems=problems)
    else:
        answers, left_out = read_table_answers(path, keeps_going=keeps_going)
    strict = [_grade_strictly(path, answer) for answer in answers]
    document: dict[str, Any] = {
        "file": str(path),
        "grader": grader,
        "answers": len(answers),
        "strict_correct": sum(grade.is_correct for grade in strict),
        "recorded_correct": sum(answer.is_recorded_correct is True for answer in answers),
        "strict_differs_from_recorded": _count_differing(answers, strict),
        "left_out": [str(item) for item in left_out],
    }
    if grader == "strict":
        return document | {"correct": document["strict_correct"]}
    with PaperGrader() as paper:
        lenient = paper.grade_all((answer.text, answer.gold) for answer in answers)
    differing = find_disagreements(strict, lenient)
    return document | {
        "correct": sum(grade.is_correct for grade in lenient),
        "paper_correct": sum(grade.is_correct for grade in lenient),
        "paper_differs_from_recorded": _count_differing(answers, lenient),
        "timeouts": sum(grade.reason == "timeout" for grade in lenient),
        "num_disagreements": len(differing),
        "disagreements": [
            {
                "line": answers[item.index].line,
                "gold": answers[item.index].gold,
                "strict": item.strict.answer or item.strict.reason,
                "paper": item.paper.answer or item.paper.reason,
                "correct_by": "strict" if item.strict.is_correct else "paper",
            }
            for item in differing[:MAX_LISTED]
        ],
    }


def _grade_strictly(path: Path, answer: FiledAnswer) -> Grade:
    try:
        return grade_strict(answer.text, answer.gold)
    except ValueError as error:
        raise DataFileError(f"{path}:{answer.line}: {error}") from error


def _count_differing(answers: Sequence[FiledAnswer], grades: Sequence[Grade]) -> int:
    """Answers whose recorded score is another; unscored ones do not count."""
    return sum(
        answer.is_recorded_correct is not None and answer.is_recorded_correct != grade.is_correct
        for answer, grade in zip(answers, grades, strict=True)
    )
