"""What the answers of one file must agree on, before any number is made of them.

Each answer is sound by itself; here it is held against the header and the answers before it. A contradiction is
refused rather than averaged: nobody can tell which side of it is true.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kinetics.samples.counts import count, shortened
from kinetics.samples.log_header import TraceHeader
from kinetics.samples.log_writer import SampleKey
from kinetics.samples.trace_answers import TraceAnswer


def sample_key(record: Mapping[str, Any]) -> SampleKey | None:
    """The problem and the trial that a record says it is of; None if it names neither.

    Raises: ValueError if it names one alone, or what can be none.
    """
    name, trial = record.get("problem_id"), record.get("trial")
    if name is None and trial is None:
        return None
    if not isinstance(name, str):
        raise ValueError(f"problem_id must be text, got {shortened(name)}")
    return name, count(trial, "trial")


class SampleKeys:
    """The keys of the records of one file, each once; `are_needed` where every record must have one."""

    def __init__(self, *, are_needed: bool) -> None:
        self._are_needed = are_needed
        self._lines: dict[SampleKey, int] = {}

    def check(self, key: SampleKey | None, line: int) -> None:
        """Hold a record's key against those of the others.

        Raises: ValueError if it has none and needs one, or its key is there already.
        """
        if key is None:
            if self._are_needed:
                raise ValueError("sample must have problem_id and trial, got neither")
            return
        if first := self._lines.get(key):
            raise ValueError(f"samples must be there once, got {key[0][:40]} trial {key[1]} in line {first} too")
        self._lines[key] = line


class Admission:
    """Lets in the answers of one file that agree with its header and with those let in before."""

    def __init__(self, header: TraceHeader) -> None:
        self._header = header
        self._keys = SampleKeys(are_needed=header.is_own)
        self._first: TraceAnswer | None = None
        self._questions: dict[str, TraceAnswer] = {}
        self._problem_ids: dict[str, str] = {}

    def check(self, answer: TraceAnswer, record: Mapping[str, Any], line: int) -> None:
        """Hold an answer against the header and the answers let in.

        Raises: ValueError if it is longer than the cap, there already, or of another gold answer, prompt, problem or
        way of counting than the others of its question.
        """
        key = sample_key(record)
        cap, length = self._header.max_new_tokens, answer.usage.num_tokens
        if cap and length > cap:
            raise ValueError(f"an answer must have at most the header's max_new_tokens, {cap}, got {length}")
        self._check_question(answer, key)
        self._keys.check(key, line)
        self._first = self._first or answer
        self._questions.setdefault(answer.question_id, answer)

    def _check_question(self, answer: TraceAnswer, key: SampleKey | None) -> None:
        """Against the first answer to the same question, and the first of the file."""
        known = self._questions.get(answer.question_id, answer)
        if known.gold != answer.gold:
            raise ValueError(f"a question must have one gold answer, got {known.gold!r} and {answer.gold!r}")
        if (self._first or answer).is_length_counted != answer.is_length_counted:
            raise ValueError("lengths of a file must all be recorded or all be counted by a tokenizer, got both")
        if None not in (known.prompt_tokens, answer.prompt_tokens) and known.prompt_tokens != answer.prompt_tokens:
            raise ValueError(
                f"a question must be asked in one prompt, got {known.prompt_tokens} tokens and {answer.prompt_tokens}"
            )
        if key and (first := self._problem_ids.setdefault(answer.question_id, key[0])) != key[0]:
            raise ValueError(f"a question must have one problem_id, got {first[:40]!r} and {shortened(key[0])}")
