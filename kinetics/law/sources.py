"""Where the samples of a law come from: tables, trace files, the published traces; and their models' architectures.

Knows options and files, not costs. Whatever cannot be used is named with its file; with `keeps_going` it is left out
and listed.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from kinetics.cost.published import GENERATION_BUDGETS
from kinetics.files.reading import DataFileError, format_of
from kinetics.law.request import LawRequest
from kinetics.law.strategies import has_votes
from kinetics.samples.grading import grade_strict
from kinetics.samples.log_reader import TraceFile, read_trace_file
from kinetics.samples.paper_grader import PaperGrader
from kinetics.samples.problems import read_problems
from kinetics.samples.published_traces import fetch_published_traces
from kinetics.samples.sample_records import SUFFIXES
from kinetics.samples.sample_set import SampleSet
from kinetics.samples.sample_tables import is_sample_table, read_sample_table
from kinetics.samples.tokenizers import Tokenizer, open_tokenizer
from kinetics.samples.trace_answers import Grader, TraceRules
from kinetics.specs.known_models import named_model
from kinetics.specs.models import MODEL_SPECS, ModelSpec, find_model

MIN_VOCAB_SHARE: Final = 0.9
"""A model's own tokenizer knows at least so many of the tokens that it has rows for; the rest pads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Sample sets that belong together, the architectures that are known, remarks, and what was left out.

    `trace_files`: those of the sets that came from traces, whole.
    """

    sets: tuple[SampleSet, ...]
    specs: dict[str, ModelSpec]
    notes: tuple[str, ...]
    left_out: tuple[str, ...]
    trace_files: tuple[TraceFile, ...] = ()


def read_samples(request: LawRequest) -> Samples:
    """All samples that a request names.

    Raises: DataFileError for files that cannot be used or hold other questions than the first; ValueError for an
    unknown architecture or options that do not fit; RuntimeError for a missing extra or network.
    """
    paths = [*request.files, *(_logs_in(request.traces) if request.traces else [])]
    paths += fetch_published_traces(task=request.fetch) if request.fetch else []
    found = _Found(keeps_going=request.keeps_going)
    with ExitStack() as stack:
        rules = _trace_rules(request, _open_grader(request.grader, stack))
        for path in paths:
            try:
                _read_file(path, rules, request, found)
            except DataFileError as error:
                found.leave_out(error)
    if paths and not found.sets:
        raise DataFileError(found.left_out[0])
    specs, unknown = _find_specs(found, request)
    _check_tokenizer(found, specs, rules.tokenizer)
    found.left_out += [f"{name}: architecture unknown, no costs" for name in unknown]
    found.notes += _notes_on_votes(found.sets)
    return Samples(
        sets=tuple(found.sets),
        specs=specs,
        notes=tuple(found.notes),
        left_out=tuple(found.left_out),
        trace_files=tuple(found.trace_files),
    )


def _logs_in(folder: Path) -> list[Path]:
    paths = sorted([*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz")])
    if not paths:
        raise DataFileError(f"{folder}: must be a folder of logs (*.jsonl), got none; kinetics generate makes them")
    return paths


@dataclass(slots=True, kw_only=True)
class _Found:
    """What reading has found so far, each set with its file."""

    keeps_going: bool
    sets: list[SampleSet] = field(default_factory=list)
    origins: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    trace_files: list[TraceFile] = field(default_factory=list)

    def add(self, samples: SampleSet, path: Path, trace: TraceFile | None = None) -> None:
        """Take a set that fits those before it, with the file that it came from, if that was of texts.

        Raises: DataFileError for one that does not, unless it may be left out.
        """
        reason = self._reason_against(samples) or (self._other_prompts(trace) if trace else "")
        if reason and not self.keeps_going:
            raise DataFileError(f"{path}: {reason}; --keep-going leaves the file's samples out")
        if reason:
            self.left_out.append(f"{path}: {reason}")
            return
        self.sets.append(samples)
        self.origins.append(path)
        if trace:
            self.trace_files.append(trace)

    def leave_out(self, error: DataFileError) -> None:
        """List a file that cannot be used and go on.

        Raises: the error, unless bad input may be left out.
        """
        if not self.keeps_going:
            raise error
        self.left_out.append(str(error))

    def _reason_against(self, samples: SampleSet) -> str:
        for other, origin in zip(self.sets, self.origins, strict=True):
            if (other.dataset, other.label) == (samples.dataset, samples.label):
                return f"samples must be there once, got {samples.label} in {origin} too"
        if self.sets and samples.question_ids != self.sets[0].question_ids:
            odd = sorted(samples.question_ids ^ self.sets[0].question_ids)
            return f"samples must be of the questions of {self.origins[0]}, got {len(odd)} others, first {odd[0]}"
        return ""

    def _other_prompts(self, trace: TraceFile) -> str:
        """Why a file was asked otherwise than another of its model: a question's prompt is of another length."""
        asked = {question.question_id: question.prompt_len for question in trace.samples.questions}
        for other in self.trace_files:
            is_told = trace.are_prompts_recorded and other.are_prompts_recorded
            if not is_told or other.samples.model != trace.samples.model:
                continue
            for question in other.samples.questions:
                got = asked[question.question_id]
                if got != question.prompt_len:
                    return (
                        f"files of {other.samples.model} must ask in the same prompts, got {question.prompt_len} "
                        f"tokens under {other.samples.attention} and {got} here for {question.question_id}"
                    )
        return ""


def _read_file(path: Path, rules: TraceRules, request: LawRequest, found: _Found) -> None:
    if is_sample_table(path):
        table = read_sample_table(path, prompt_len=request.prompt_len, keeps_going=request.keeps_going)
        found.left_out += [str(item) for item in table.left_out]
        for samples in table.sets:
            found.add(samples, path)
    elif format_of(path) in SUFFIXES:
        trace = read_trace_file(path, rules)
        found.left_out += [str(item) for item in trace.left_out]
        found.notes += trace.notes
        found.add(trace.samples, path, trace)
    else:
        raise DataFileError(f"{path}: samples must be a .csv table or {', '.join(SUFFIXES)}, got {path.suffix!r}")


def _open_grader(name: str, stack: ExitStack) -> Grader | None:
    if name == "strict":
        return grade_strict
    return stack.enter_context(PaperGrader()).grade if name == "paper" else None


def _trace_rules(request: LawRequest, grader: Grader | None) -> TraceRules:
    if request.grades_cuts and not request.tokenizer:
        raise ValueError("--grade-cuts needs --tokenizer to cut texts, got none")
    return TraceRules(
        tokenizer=open_tokenizer(request.tokenizer) if request.tokenizer else None,
        grader=grader,
        keeps_going=request.keeps_going,
        cut_budgets=GENERATION_BUDGETS if request.grades_cuts else (),
        problems=read_problems(request.problems) if request.problems else (),
    )


def _find_specs(found: _Found, request: LawRequest) -> tuple[dict[str, ModelSpec], list[str]]:
    """Architectures by model name: as given, as the files tell, as the suite knows; and the names that have none.

    Names without one are an error, unless bad input may be left out.
    """
    given = dict(_parse_architecture(text) for text in request.architectures)
    in_files = {trace.samples.model: trace.header.spec for trace in found.trace_files}
    names = list(dict.fromkeys(samples.model for samples in found.sets))
    specs = {name: spec for name in names if (spec := given.get(name) or in_files.get(name) or _known(name))}
    unknown = [name for name in names if name not in specs]
    if unknown and not request.keeps_going:
        flags = " ".join(f"--architecture {name}=SPEC" for name in unknown)
        raise ValueError(
            f"models must be known ones, got {', '.join(map(repr, unknown))}; say {flags} (SPEC: a config.json, or one "
            f"of {', '.join(spec.name for spec in MODEL_SPECS)}), or --keep-going to leave out their costs"
        )
    return specs, unknown


def _notes_on_votes(sets: Sequence[SampleSet]) -> list[str]:
    silent = sorted({samples.model for samples in sets if not has_votes(samples)})
    if not silent:
        return []
    return [
        f"no majority for {', '.join(silent)}: none of their answers was parsed, so none votes; fill the column "
        "answer, or grade texts: --grader strict"
    ]


def _known(name: str) -> ModelSpec | None:
    try:
        return find_model(name)
    except ValueError:
        return None


def _check_tokenizer(found: _Found, specs: Mapping[str, ModelSpec], tokenizer: Tokenizer | None) -> None:
    """Refuse lengths that another model's tokenizer counted: it knows about as many tokens as the model has rows.

    Raises: ValueError naming all such models at once.
    """
    if tokenizer is None or tokenizer.estimates:
        return
    known, counted = (
        tokenizer.vocab_size,
        {trace.samples.model for trace in found.trace_files if trace.are_lengths_counted},
    )
    others = [
        f"{name} ({spec.vocab_size})"
        for name, spec in specs.items()
        if name in counted and not MIN_VOCAB_SHARE * spec.vocab_size <= known <= spec.vocab_size
    ]
    if others:
        raise ValueError(
            f"--tokenizer must be the models' own, got one of {known} tokens for vocabularies of {', '.join(others)}; "
            "make one law per tokenizer, keep token ids, or estimate all lengths: --tokenizer chars"
        )


def _parse_architecture(text: str) -> tuple[str, ModelSpec]:
    name, _, target = text.partition("=")
    if not name or not target:
        raise ValueError(f"--architecture must read NAME=SPEC or NAME=config.json, got {text[:80]!r}")
    return name, replace(named_model(target), name=name)
