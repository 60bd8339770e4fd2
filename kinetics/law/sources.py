"""Where the samples of a law come from: tables, trace files, the published traces; and their models' architectures.

Knows options and files, not costs. Whatever cannot be used is named with its file; with `keeps_going` it is left out
and listed.
"""

import json
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from kinetics.cost.published import GENERATION_BUDGETS
from kinetics.files.lines import DataFileError
from kinetics.law.request import LawRequest
from kinetics.samples.grading import grade_strict
from kinetics.samples.log_reader import Grader, TraceFile, TraceRules, read_trace_file
from kinetics.samples.paper_grader import PaperGrader
from kinetics.samples.published_traces import fetch_published_traces
from kinetics.samples.sample_set import SampleSet
from kinetics.samples.sample_tables import read_sample_table
from kinetics.samples.tokenizers import open_tokenizer
from kinetics.specs.models import ModelSpec, find_model
from kinetics.specs.policies import policy_label


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
            _read_file(path, rules, request, found)
    specs, unknown = _find_specs(found, request)
    found.left_out += [f"{name}: architecture unknown, no costs" for name in unknown]
    return Samples(
        sets=tuple(found.sets),
        specs=specs,
        notes=tuple(found.notes),
        left_out=tuple(found.left_out),
        trace_files=tuple(found.trace_files),
    )


def _logs_in(folder: Path) -> list[Path]:
    paths = sorted(folder.glob("*.jsonl"))
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

    def add(self, samples: SampleSet, path: Path) -> bool:
        """Take a set that fits those before it; says whether it was taken.

        Raises: DataFileError for one that does not, unless it may be left out.
        """
        reason = self._reason_against(samples)
        if reason and not self.keeps_going:
            raise DataFileError(f"{path}: {reason}; --keep-going leaves the file's samples out")
        if reason:
            self.left_out.append(f"{path}: {reason}")
            return False
        self.sets.append(samples)
        self.origins.append(path)
        return True

    def _reason_against(self, samples: SampleSet) -> str:
        for other, origin in zip(self.sets, self.origins, strict=True):
            if (other.model, other.dataset, other.policy) == (samples.model, samples.dataset, samples.policy):
                return f"samples must be there once, got {samples.model} {policy_label(samples.policy)} in {origin} too"
        if self.sets and samples.question_ids != self.sets[0].question_ids:
            odd = sorted(samples.question_ids ^ self.sets[0].question_ids)
            return f"samples must be of the questions of {self.origins[0]}, got {len(odd)} others, first {odd[0]}"
        return ""


def _read_file(path: Path, rules: TraceRules, request: LawRequest, found: _Found) -> None:
    if path.suffix == ".csv":
        table = read_sample_table(path, prompt_len=request.prompt_len, keeps_going=request.keeps_going)
        found.left_out += [str(item) for item in table.left_out]
        for samples in table.sets:
            found.add(samples, path)
    elif path.suffix == ".jsonl":
        trace = read_trace_file(path, rules)
        found.left_out += [str(item) for item in trace.left_out]
        found.notes += trace.notes
        if found.add(trace.samples, path):
            found.trace_files.append(trace)
    else:
        raise DataFileError(f"{path}: samples must be a .csv table or .jsonl traces, got {path.suffix!r}")


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
    )


def _find_specs(found: _Found, request: LawRequest) -> tuple[dict[str, ModelSpec], list[str]]:
    """Architectures by model name: as given, as the files tell, as the suite knows; and the names that have none.

    A name without one is an error unless bad input may be left out.
    """
    given = dict(_parse_architecture(text) for text in request.architectures)
    in_files = {trace.samples.model: trace.header.spec for trace in found.trace_files}
    specs, unknown = {}, []
    for name in dict.fromkeys(samples.model for samples in found.sets):
        try:
            specs[name] = given.get(name) or in_files.get(name) or find_model(name)
        except ValueError as error:
            if not request.keeps_going:
                raise ValueError(
                    f"{error}; or say --architecture {name}=SPEC, or --keep-going to leave out its costs"
                ) from error
            unknown.append(name)
    return specs, unknown


def _parse_architecture(text: str) -> tuple[str, ModelSpec]:
    name, _, target = text.partition("=")
    if not name or not target:
        raise ValueError(f"--architecture must read NAME=SPEC or NAME=config.json, got {text[:80]!r}")
    if not target.endswith(".json"):
        return name, replace(find_model(target), name=name)
    try:
        config = json.loads(Path(target).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataFileError(f"{target}: config must be a JSON file, got {error}") from error
    if not isinstance(config, dict):
        raise DataFileError(f"{target}: config must be a JSON object, got {type(config).__name__}")
    return name, ModelSpec.from_config(config, name=name)
