"""One answer of a trace file: its text graded, its tokens counted, every value checked.

Texts are untrusted: they are measured and graded, never run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from kinetics.files.json_text import check_encodable, whole_text
from kinetics.samples.counts import MAX_COUNT, amount, count, shortened
from kinetics.samples.grading import Grade, grade_strict, last_boxed
from kinetics.samples.problems import Problem, question_id
from kinetics.samples.tokenizers import Tokenizer
from kinetics.specs.generation import DecodeUsage

TEMPLATE_TOKENS: Final = 90
"""Tokens that chat template and instruction add to a question: an estimate to within 10; it moves costs by < 1 %."""
_SCORES: Final = {0: False, 1: True, 100: True}
_ID_KEYS: Final = ("token_ids", "output_ids")
_COUNT_KEYS: Final = ("generated_tokens", "num_tokens")
_CUT_OFF: Final = "length"
"""How a server says that an answer reached its cap; any other end is the model's own, or a rule's."""
Number = TypeVar("Number", int, float)

Grader = Callable[[str, str], Grade]


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRules:
    """How texts become samples.

    `tokenizer`: for lengths where no token ids are stored, and for cuts. `grader`: None keeps the recorded scores.
    `cut_budgets`: at which cut texts are graded too, as the published long-CoT scripts do. `problems`: questions and
    gold answers, for files that hold answers alone.
    """

    tokenizer: Tokenizer | None
    grader: Grader | None
    keeps_going: bool = False
    template_tokens: int = TEMPLATE_TOKENS
    cut_budgets: Sequence[int] = ()
    problems: Sequence[Problem] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceAnswer:
    """One answer as a trace file has it; what it does not tell is None."""

    question: str
    question_id: str
    gold: str
    usage: DecodeUsage
    is_length_counted: bool
    is_cut_off: bool | None
    is_correct: bool
    answer: str
    weight: float | None
    cuts: tuple[bool, ...]
    prompt_tokens: int | None


def read_answer(record: dict[str, Any], rules: TraceRules) -> TraceAnswer:
    """One sample.

    Raises: ValueError naming the field that cannot be used.
    """
    query, gold = text_of(record, "query"), text_of(record, "choices", "choice")
    text = prediction_of(record)
    grade = rules.grader(text, gold) if rules.grader else None
    recorded = _recorded_length(record)
    return TraceAnswer(
        question=query,
        question_id=question_id(query),
        gold=gold,
        usage=_usage(record, num_tokens=_count_tokens(text, rules) if recorded is None else recorded),
        is_length_counted=recorded is None,
        is_cut_off=None if record.get("finish") is None else record["finish"] == _CUT_OFF,
        is_correct=recorded_score(record) if grade is None else grade.is_correct,
        answer=grade.answer if grade else (last_boxed(text) or "").strip(),
        weight=_optional(amount, record, "weight"),
        cuts=tuple(_grade_cut(text, gold, budget, rules) for budget in rules.cut_budgets),
        prompt_tokens=_optional(count, record, "prompt_tokens"),
    )


def text_of(record: dict[str, Any], *keys: str) -> str:
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


def prediction_of(record: dict[str, Any]) -> str:
    """The answer's text; a model may end at once, which is an empty text only where tokens were counted.

    Generation may end within a character: half a surrogate pair becomes the replacement character.
    """
    found = record.get("prediction")
    if found == [""] and _recorded_length(record) is not None:
        return ""
    if isinstance(found, list) and len(found) == 1 and isinstance(found[0], str):
        found = found[0]
    return text_of({**record, "prediction": whole_text(found) if isinstance(found, str) else found}, "prediction")


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


def recorded_score(record: dict[str, Any]) -> bool:
    """What the record says of its answer: 0, 1 or 100.

    Raises: ValueError if it says anything else, or nothing.
    """
    score = record.get("score")
    if isinstance(score, int | float) and score in _SCORES:
        return _SCORES[int(score)]
    raise ValueError(f"score must be 0, 1 or 100, got {shortened(score)}; grade anew with --grader strict")


def _recorded_length(record: dict[str, Any]) -> int | None:
    """Generated tokens: as many as are stored, or as counted when they were made; None if a record tells neither.

    Raises: ValueError if it tells both and they differ: one of them is of another answer.
    """
    found = {key: len(_token_ids(record, key)) for key in _ID_KEYS if record.get(key) is not None}
    found |= {key: count(record[key], key) for key in _COUNT_KEYS if record.get(key) is not None}
    if len(set(found.values())) > 1:
        told = " and ".join(f"{number} by {key}" for key, number in found.items())
        raise ValueError(f"a sample must have one number of tokens, got {told}")
    return next(iter(found.values()), None)


def _count_tokens(text: str, rules: TraceRules) -> int:
    if rules.tokenizer is None:
        raise ValueError(
            "sample has no token ids; count its tokens with --tokenizer tokenizer.json, or estimate them: "
            "--tokenizer chars"
        )
    return rules.tokenizer.count(text)


def _token_ids(record: dict[str, Any], key: str) -> list[int]:
    ids = record[key]
    if not isinstance(ids, list) or not all(type(token) is int and 0 <= token <= MAX_COUNT for token in ids):
        raise ValueError(f"{key} must be a list of token ids, got {shortened(ids)}")
    return ids


def _grade_cut(text: str, gold: str, budget: int, rules: TraceRules) -> bool:
    assert rules.tokenizer is not None
    grader = rules.grader or grade_strict
    return grader(rules.tokenizer.cut(text, budget), gold).is_correct
