"""Records of answers from files in any known form: recognised by their fields, never by their name.

Every form becomes the one of trace files: what the file says of itself first, then one answer a record. A file in no
known form is refused with the fields that it lacks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

from kinetics.files.json_text import parse_json
from kinetics.files.lines import Complaints, DataFileError, read_lines
from kinetics.files.reading import format_of, read_text
from kinetics.samples.foreign_forms import ForeignForm, Source
from kinetics.samples.harness_forms import LIGHTEVAL, LIGHTEVAL_FLAT, LM_EVAL
from kinetics.samples.problems import MAX_FILE_BYTES, Problem
from kinetics.samples.server_forms import BENCH, CHAT, CONVERSATION, OPENAI_BATCH, VORTEX_SUMMARY
from kinetics.specs.distribution import install_command

Record = tuple[int, dict[str, Any]]

SUFFIXES: Final = (".jsonl", ".json", ".parquet")
FORMS: Final = (
    LM_EVAL, LIGHTEVAL, LIGHTEVAL_FLAT, OPENAI_BATCH, CHAT, CONVERSATION, BENCH, VORTEX_SUMMARY,
)  # fmt: skip
TRACE_FIELDS: Final = ("query", "choices", "prediction")
_METADATA: Final = ("kinetics_log", "task", "model", "total_example")
_METADATA_PREFIXES: Final = ("attn_", "pass@")


def read_records(path: Path, complaints: Complaints, problems: Sequence[Problem] = ()) -> Iterator[Record]:
    """(line, record) of a file in the form of trace files, whatever form it is in; maybe metadata first.

    `problems`: questions and gold answers, for forms that hold answers alone.

    Raises: DataFileError for a file in no known form, naming the fields it lacks, or unless complaints are listed, for
    a record that cannot be used.
    """
    records = _raw_records(path, complaints)
    first = next(records, None)
    if first is None:
        return
    line, record = first
    form = None if "query" in record else next((form for form in FORMS if form.has_fields(record)), None)
    everything = chain([first], records)
    if form is not None:
        source = Source(path=path, problems={problem.problem_id: problem for problem in problems})
        yield from _translated(form, everything, source, complaints)
    elif _is_trace(record):
        yield from everything
    else:
        raise DataFileError(f"{path}:{line}: {_why_unknown(record)}")


def _translated(
    form: ForeignForm, records: Iterator[Record], source: Source, complaints: Complaints
) -> Iterator[Record]:
    has_header = False
    for line, record in records:
        try:
            if lacking := form.lacking(record):
                raise ValueError(f"a record of {form.name} must have {', '.join(lacking)}, got none")
            if not has_header:
                yield line, {"imported_from": form.name, **form.facts(record, source)}
                has_header = True
            for sample in form.samples(record, source):
                yield line, sample
        except ValueError as error:
            if not has_header:
                raise DataFileError(f"{source.path}:{line}: {error}") from None
            complaints.add(line, str(error))


def _is_trace(record: Mapping[str, Any]) -> bool:
    """Whether a first record is an answer, or what trace files say of themselves."""
    return "query" in record or any(key in _METADATA or key.startswith(_METADATA_PREFIXES) for key in record)


def _why_unknown(record: Mapping[str, Any]) -> str:
    """What a record lacks to be of the form that it is nearest to."""
    nearest = max(FORMS, key=lambda form: form.num_fields(record))
    name, fields = "a trace", list(TRACE_FIELDS)
    if nearest.num_fields(record) > sum(field in record for field in TRACE_FIELDS):
        name, fields = nearest.name, nearest.lacking(record)
    lacking = [field for field in fields if field not in record]
    keys = ", ".join(sorted(map(str, record)))[:80] or "none"
    return f"samples must be in a known form, got fields {keys}; to be {name} it lacks {', '.join(lacking)}"


def _raw_records(path: Path, complaints: Complaints) -> Iterator[Record]:
    if format_of(path) == ".parquet":
        yield from _parquet_records(path)
        return
    documents = _whole_document(path) if format_of(path) == ".json" else _parsed_lines(path, complaints)
    for line, record in documents:
        if isinstance(record, dict):
            yield line, record
        else:
            complaints.add(line, f"line must be a JSON object, got {type(record).__name__}")


def _parsed_lines(path: Path, complaints: Complaints) -> Iterator[tuple[int, Any]]:
    for line, text in read_lines(path, complaints):
        try:
            yield line, parse_json(text)
        except ValueError as error:
            complaints.add(line, f"line must be JSON, got {error}")


def _whole_document(path: Path) -> Iterator[tuple[int, Any]]:
    """The records of a file that is one JSON document: a list of them, or one."""
    try:
        document = parse_json(read_text(path, max_bytes=MAX_FILE_BYTES))
    except DataFileError:
        raise
    except ValueError as error:
        raise DataFileError(f"{path}: must be JSON, got {error}") from None
    yield from enumerate(document if isinstance(document, list) else [document], start=1)


def _parquet_records(path: Path) -> Iterator[Record]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise DataFileError(f"{path}: reading parquet needs pyarrow; {install_command('law')}") from error
    try:
        with parquet.ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches(batch_size=64) for row in batch.to_pylist())
            yield from enumerate(rows, start=1)
    except (ArrowException, OSError, ValueError) as error:
        if isinstance(error, DataFileError):
            raise
        if isinstance(error, FileNotFoundError):
            raise DataFileError(f"{path}: cannot be read (no such file)") from None
        reason = str(error).split("\n", maxsplit=1)[0][:200]
        raise DataFileError(f"{path}: must be a parquet file, got {reason}") from None
