"""Traces: generated answers as text, one JSON object a line, turned into graded samples.

Reads what the paper's scripts and LiteSys wrote. Questions are told apart by their text, never by order of
appearance: the published pipeline numbered them per file and then compared different questions. Texts are untrusted:
they are measured and graded, never run.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from kinetics.cost.published import MAX_GENERATED
from kinetics.files.json_text import check_encodable, parse_json, whole_text
from kinetics.files.lines import Complaints, DataFileError, SkippedLine, read_lines
from kinetics.samples.counts import MAX_COUNT, amount, count, shortened
from kinetics.samples.grading import Grade, grade_strict, last_boxed
from kinetics.samples.log_header import TraceHeader, read_header
from kinetics.samples.problems import question_id
from kinetics.samples.sample_set import Question, SampleSet
from kinetics.samples.tokenizers import Tokenizer
from kinetics.specs.generation import DecodeUsage

TEMPLATE_TOKENS: Final = 90
"""Tokens that chat template and instruction add to a question: an estimate to within 10; it moves costs by < 1 %."""
_SCORES: Final = {0: False, 1: True, 100: True}
_ID_KEYS: Final = ("token_ids", "output_ids")
Number = TypeVar("Number", int, float)

Grader = Callable[[str, str], Grade]


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRules:
    """How texts become samples.

    `tokenizer`: for lengths where no token ids are stored, and for cuts. `grader`: None keeps the recorded scores.
    `cut_budgets`: at which cut texts are graded too, as the published long-CoT scripts do.
    """

    tokenizer: Tokenizer | None
    grader: Grader | None
    keeps_going: bool = False
    template_tokens: int = TEMPLATE_TOKENS
    cut_budgets: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFile:
    """A trace file read; `usages` are of samples that say how long decoding took."""

    header: TraceHeader
    samples: SampleSet
    usages: tuple[DecodeUsage, ...]
    notes: tuple[str, ...]
    left_out: tuple[SkippedLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FiledAnswer:
    """An answer's text as a file has it; its recorded score is None if it has none."""

    line: int
    text: str
    gold: str
    is_recorded_correct: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    question: str
    question_id: str
    gold: str
    usage: DecodeUsage
    is_correct: bool
    answer: str
    cuts: tuple[bool, ...]
    prompt_tokens: int | None


def read_trace_file(path: Path, rules: TraceRules) -> TraceFile:
    """The samples of one JSONL file.

    Raises: DataFileError naming file and line for whatever cannot be used, in this order of appearance: unreadable
    lines, unknown model or attention, broken samples (unless listed and left out), unequal numbers of trials.
    """
    complaints = Complaints(path=path, keeps_going=rules.keeps_going)
    header: TraceHeader | None = None
    answers: list[tuple[int, _Answer]] = []
    for line, record in _records(path, complaints):
        if header is None:
            is_sample = "query" in record
            header = read_header(path, None if is_sample else record)
            if not is_sample:
                continue
        answer = _read_answer(record, rules, line, complaints)
        if answer is not None:
            answers.append((line, answer))
    if header is None or not answers:
        raise DataFileError(f"{path}: must hold at least one sample, got none")
    samples = _sample_set(header, answers, rules, complaints)
    return TraceFile(
        header=header,
        samples=samples,
        usages=tuple(answer.usage for _, answer in answers if answer.usage.decode_s is not None),
        notes=_notes(path, header, samples),
        left_out=tuple(complaints.left_out),
    )


def read_trace_answers(path: Path, *, keeps_going: bool) -> tuple[list[FiledAnswer], list[SkippedLine]]:
    """Every answer of a trace file, ungraded, and the lines left out.

    Raises: DataFileError naming file and line.
    """
    complaints = Complaints(path=path, keeps_going=keeps_going)
    answers = []
    for line, record in _records(path, complaints):
        if "query" not in record and line == 1:
            continue
        try:
            answers.append(
                FiledAnswer(
                    line=line,
                    text=_prediction(record),
                    gold=_text(record, "choices", "choice"),
                    is_recorded_correct=_score(record) if "score" in record else None,
                )
            )
        except ValueError as error:
            complaints.add(line, str(error))
    return answers, complaints.left_out


def _records(path: Path, complaints: Complaints) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in read_lines(path, complaints):
        try:
            record = parse_json(text)
        except ValueError as error:
            complaints.add(line, f"line must be JSON, got {error}")
            continue
        if isinstance(record, dict):
            yield line, record
        else:
            complaints.add(line, f"line must be a JSON object, got {type(record).__name__}")


def _read_answer(record: dict[str, Any], rules: TraceRules, line: int, complaints: Complaints) -> _Answer | None:
    """One sample; None after a complaint."""
    try:
        query, gold = _text(record, "query"), _text(record, "choices", "choice")
        text = _prediction(record)
        grade = rules.grader(text, gold) if rules.grader else None
        return _Answer(
            question=query,
            question_id=question_id(query),
            gold=gold,
            usage=_usage(record, num_tokens=_length(record, text, rules.tokenizer)),
            is_correct=_score(record) if grade is None else grade.is_correct,
            answer=grade.answer if grade else (last_boxed(text) or "").strip(),
            cuts=tuple(_grade_cut(text, gold, budget, rules) for budget in rules.cut_budgets),
            prompt_tokens=_optional(count, record, "prompt_tokens"),
        )
    except ValueError as error:
        complaints.add(line, str(error))
        return None


def _text(record: dict[str, Any], *keys: str) -> str:
    """A text that may stand alone or in a list of one, under the first key that is there."""
    for key in keys:
        value = record.get(key)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, str) and value.strip():
            return check_encodable(value, key)
        if key in record:
            raise ValueError(f"{key} must be one text that is not empty, got {shortened(value)}")
    raise ValueError(f"sample must have {keys[0]}, got keys {', '.join(sorted(record))[:80]}")


def _prediction(record: dict[str, Any]) -> str:
    """The answer's text; a model may end at once, which is an empty text only where tokens were counted.

    Generation may end within a character: half a surrogate pair becomes the replacement character.
    """
    found = record.get("prediction")
    if found == [""] and _optional(count, record, "generated_tokens") is not None:
        return ""
    if isinstance(found, list) and len(found) == 1 and isinstance(found[0], str):
        found = found[0]
    return _text({**record, "prediction": whole_text(found) if isinstance(found, str) else found}, "prediction")


def _optional(kind: Callable[[Any, str], Number], record: dict[str, Any], key: str) -> Number | None:
    """A number under a key, checked; None if there is none."""
    value = record.get(key)
    return None if value is None else kind(value, key)


def _usage(record: dict[str, Any], *, num_tokens: int) -> DecodeUsage:
    return DecodeUsage(
        num_tokens=num_tokens,
        decode_s=_optional(amount, record, "decode_s"),
        keys_read=_optional(amount, record, "row_keys"),
        energy_j=_optional(amount, record, "device_j"),
    )


def _score(record: dict[str, Any]) -> bool:
    score = record.get("score")
    if isinstance(score, int | float) and score in _SCORES:
        return _SCORES[int(score)]
    raise ValueError(f"score must be 0, 1 or 100, got {shortened(score)}; grade anew with --grader strict")


def _length(record: dict[str, Any], text: str, tokenizer: Tokenizer | None) -> int:
    """Generated tokens: as many as are stored, else as counted when they were made, else by the tokenizer.

    Raises: ValueError if two of the first two are there and differ: one of them is of another answer.
    """
    found = {key: len(_token_ids(record, key)) for key in _ID_KEYS if record.get(key) is not None}
    counted = _optional(count, record, "generated_tokens")
    if counted is not None:
        found["generated_tokens"] = counted
    if len(set(found.values())) > 1:
        told = " and ".join(f"{number} by {key}" for key, number in found.items())
        raise ValueError(f"a sample must have one number of tokens, got {told}")
    if found:
        return next(iter(found.values()))
    if tokenizer is None:
        raise ValueError("sample has no token ids; count its tokens with --tokenizer tokenizer.json")
    return tokenizer.count(text)


def _token_ids(record: dict[str, Any], key: str) -> list[int]:
    ids = record[key]
    if not isinstance(ids, list) or not all(type(token) is int and 0 <= token <= MAX_COUNT for token in ids):
        raise ValueError(f"{key} must be a list of token ids, got {shortened(ids)}")
    return ids


def _grade_cut(text: str, gold: str, budget: int, rules: TraceRules) -> bool:
    assert rules.tokenizer is not None
    grader = rules.grader or grade_strict
    return grader(rules.tokenizer.cut(text, budget), gold).is_correct


def _sample_set(
    header: TraceHeader, answers: Sequence[tuple[int, _Answer]], rules: TraceRules, complaints: Complaints
) -> SampleSet:
    groups: dict[str, list[tuple[int, _Answer]]] = {}
    for line, answer in answers:
        group = groups.setdefault(answer.question_id, [])
        if group and group[0][1].gold != answer.gold:
            complaints.add(line, f"a question must have one gold answer, got {group[0][1].gold!r} and {answer.gold!r}")
        else:
            group.append((line, answer))
    fewest, most = (choose(len(group) for group in groups.values()) for choose in (min, max))
    for key, group in groups.items():
        if len(group) < most:
            text = group[0][1].question[:60]
            reason = f"every question must have as many trials, got {len(group)} of {most} for {key} ({text!r})"
            complaints.add(group[-1][0], reason)
    return SampleSet(
        model=header.model,
        dataset=header.dataset,
        policy=header.policy,
        questions=tuple(_question(key, [a for _, a in group[:fewest]], rules) for key, group in groups.items()),
        has_estimated_lengths=False,
    )


def _question(key: str, group: Sequence[_Answer], rules: TraceRules) -> Question:
    text = group[0].question
    prompt_len = group[0].prompt_tokens
    if prompt_len is None:
        prompt_len = rules.template_tokens + (rules.tokenizer.count(text) if rules.tokenizer else 0)
    cuts = {budget: tuple(answer.cuts[i] for answer in group) for i, budget in enumerate(rules.cut_budgets)}
    return Question(
        question_id=key,
        prompt_len=prompt_len,
        lengths=tuple(answer.usage.num_tokens for answer in group),
        is_correct=tuple(answer.is_correct for answer in group),
        answers=tuple(answer.answer for answer in group),
        graded_cuts=cuts,
    )


def _notes(path: Path, header: TraceHeader, samples: SampleSet) -> tuple[str, ...]:
    """What the reader of a table made of this file should know."""
    notes = []
    if header.num_dense_layers:
        notes.append(
            f"{path.name}: the engine ran {header.num_dense_layers} layer(s) dense; "
            f"charge them with --dense-layers {header.num_dense_layers}"
        )
    num_capped = sum(length >= MAX_GENERATED for question in samples.questions for length in question.lengths)
    if num_capped:
        notes.append(f"{path.name}: {num_capped} answers reached {MAX_GENERATED} tokens and were cut off there")
    return tuple(notes)
