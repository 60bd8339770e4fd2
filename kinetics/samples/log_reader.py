"""Traces: generated answers as text, one JSON object a line, turned into graded samples.

Reads what the paper's scripts, LiteSys and `kinetics generate` wrote, and what other programs did once it has the same
form. Questions are told apart by their text, never by order of
appearance: the published pipeline numbered them per file and then compared different questions. Texts are untrusted:
they are measured and graded, never run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kinetics.files.lines import Complaints, DataFileError, SkippedLine
from kinetics.samples.admission import Admission, SampleKeys, sample_key
from kinetics.samples.log_header import TraceHeader, read_header
from kinetics.samples.problems import Problem
from kinetics.samples.sample_records import read_records
from kinetics.samples.sample_set import Question, SampleSet
from kinetics.samples.trace_answers import TraceAnswer, TraceRules, prediction_of, read_answer, recorded_score, text_of
from kinetics.specs.generation import MAX_GENERATED, DecodeUsage
from kinetics.specs.policies import Dense


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFile:
    """A trace file read; `usages` are of samples that say how long decoding took.

    `are_lengths_counted`: by a tokenizer, from text, and not kept from when the answers were made.
    `are_prompts_recorded`: prompts are as long as the engine said, and not as estimated.
    """

    header: TraceHeader
    samples: SampleSet
    are_lengths_counted: bool
    are_prompts_recorded: bool
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


def read_trace_file(path: Path, rules: TraceRules) -> TraceFile:
    """The samples of one JSONL file.

    Raises: DataFileError naming file and line for whatever cannot be used, in this order of appearance: unreadable
    lines, unknown model or attention, broken samples (unless listed and left out), unequal numbers of trials.
    """
    complaints = Complaints(path=path, keeps_going=rules.keeps_going)
    header: TraceHeader | None = None
    answers: list[tuple[int, TraceAnswer]] = []
    for line, record in read_records(path, complaints, rules.problems):
        if header is None:
            is_sample = "query" in record
            header = read_header(path, None if is_sample else record)
            admission = Admission(header)
            if not is_sample:
                continue
        try:
            answer = read_answer(record, rules)
            admission.check(answer, record, line)
        except ValueError as error:
            complaints.add(line, str(error))
        else:
            answers.append((line, answer))
    if header is None or not answers:
        raise DataFileError(f"{path}: must hold at least one sample, got none")
    samples = _sample_set(header, answers, rules, complaints)
    return TraceFile(
        header=header,
        samples=samples,
        are_lengths_counted=answers[0][1].is_length_counted,
        are_prompts_recorded=all(answer.prompt_tokens is not None for _, answer in answers),
        usages=tuple(answer.usage for _, answer in answers if answer.usage.decode_s is not None),
        notes=_notes(path, header, samples),
        left_out=tuple(complaints.left_out),
    )


def read_trace_answers(
    path: Path, *, keeps_going: bool, problems: Sequence[Problem] = ()
) -> tuple[list[FiledAnswer], list[SkippedLine]]:
    """Every answer of a file in a known form, ungraded, and the lines left out.

    Raises: DataFileError naming file and line; for a file without an answer, too.
    """
    complaints = Complaints(path=path, keeps_going=keeps_going)
    answers, keys = [], SampleKeys(are_needed=False)
    for number, (line, record) in enumerate(read_records(path, complaints, problems)):
        if "query" not in record and number == 0:
            continue
        try:
            answer = FiledAnswer(
                line=line,
                text=prediction_of(record),
                gold=text_of(record, "choices", "choice"),
                is_recorded_correct=recorded_score(record) if "score" in record else None,
            )
            keys.check(sample_key(record), line)
        except ValueError as error:
            complaints.add(line, str(error))
        else:
            answers.append(answer)
    if not answers:
        raise DataFileError(f"{path}: must hold at least one answer, got none")
    return answers, complaints.left_out


def _sample_set(
    header: TraceHeader, answers: Sequence[tuple[int, TraceAnswer]], rules: TraceRules, complaints: Complaints
) -> SampleSet:
    groups: dict[str, list[tuple[int, TraceAnswer]]] = {}
    for line, answer in answers:
        groups.setdefault(answer.question_id, []).append((line, answer))
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
        questions=tuple(_question(key, [a for _, a in group[:fewest]], rules, header) for key, group in groups.items()),
        has_estimated_lengths=answers[0][1].is_length_counted
        and rules.tokenizer is not None
        and rules.tokenizer.estimates,
        num_dense_layers=0 if isinstance(header.policy, Dense) else header.num_dense_layers,
    )


def _question(key: str, group: Sequence[TraceAnswer], rules: TraceRules, header: TraceHeader) -> Question:
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
        is_cut_off=_cut_off(group, header),
        weights=_weights(group),
        graded_cuts=cuts,
    )


def _cut_off(group: Sequence[TraceAnswer], header: TraceHeader) -> tuple[bool, ...]:
    """Which answers the length cap stopped: as recorded, else those as long as it; empty if no cap is known.

    Published traces name no cap: it was the paper's.
    """
    cap = header.max_new_tokens or (0 if header.imported_from else MAX_GENERATED)
    if not cap and any(answer.is_cut_off is None for answer in group):
        return ()
    return tuple([
        answer.usage.num_tokens >= cap if answer.is_cut_off is None else answer.is_cut_off for answer in group
    ])  # fmt: skip


def _weights(group: Sequence[TraceAnswer]) -> tuple[float, ...]:
    """Of the answers' votes; empty if one has none."""
    weights = [answer.weight for answer in group if answer.weight is not None]
    return tuple(weights) if len(weights) == len(group) else ()


def _notes(path: Path, header: TraceHeader, samples: SampleSet) -> tuple[str, ...]:
    """What the reader of a table made of this file should know."""
    notes = []
    if header.num_dense_layers:
        notes.append(
            f"{path.name}: the engine ran {header.num_dense_layers} layer(s) dense; "
            f"charge them with --dense-layers {header.num_dense_layers}"
        )
    if header.is_attention_assumed:
        notes.append(
            f"{path.name}: {header.imported_from} says nothing of attention, dense is assumed; "
            f"if it was not, name the file like aime24_qwen3-8b_local0_topk256{path.suffix}"
        )
    num_capped = sum(length >= MAX_GENERATED for question in samples.questions for length in question.lengths)
    if num_capped and not header.max_new_tokens and not header.imported_from:
        notes.append(f"{path.name}: {num_capped} answers reached {MAX_GENERATED} tokens and were cut off there")
    return tuple(notes)
