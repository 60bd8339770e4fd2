"""Which runs may be published, and the copy of what belongs together. A published file is never edited.

Knows result files and folders; what documents quote of a run is `kinetics.bench.quotes`'s business.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

from kinetics.files.atomic import writing, written_aside
from kinetics.files.lines import DataFileError
from kinetics.results.disturbance import disturbed_rows
from kinetics.results.fields import check_fields
from kinetics.results.reader import MAX_FRACTION_OF_CEILING
from kinetics.results.store import Document, read_result, tables_folder
from kinetics.specs.identity import identity_of

MEASURABLE: Final = ("cpu", "cuda")
BUSY_SHARE: Final = 0.6
"""Of its own ceiling: a machine that reads more slowly than that between samples has other work to do."""
_TABLE_SUFFIXES: Final = frozenset({".csv", ".md", ".png", ".svg", ".json"})


class Doubt(Enum):
    """What speaks against publishing a run."""

    DIRTY = "dirty"
    BUSY = "busy"
    DISTURBED = "disturbed"
    PARTIAL = "partial"
    FAILED = "failed"
    ONE_THREADED = "one-threaded"
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """One doubt about a run, and what in the file gives rise to it."""

    doubt: Doubt
    reason: str

    def __str__(self) -> str:
        return f"{self.doubt.value}: {self.reason}"


def read_publishable(path: Path) -> Document:
    """The result file of a run of the benchmarks, on a device.

    Raises: DataFileError for a file that nobody may publish, whatever they allow.
    """
    try:
        document = read_result(path)
        for bench in document["benchmarks"]:
            check_fields(bench["extra_info"])
        _check_publishable(document)
    except (KeyError, TypeError):
        raise DataFileError(f"{path}: rows must be those of a run, got others; measure again") from None
    except ValueError as error:
        text = str(error)
        raise DataFileError(text if text.startswith(str(path)) else f"{path}: {text}") from None
    return document


def _check_publishable(document: Document) -> None:
    """Raises: ValueError."""
    if document.get("kind") == "gate":
        raise ValueError("a run of the benchmarks must be given, got a file of kinetics gate")
    if document.get("origin") == "published":
        raise ValueError("a run measured here must be given, got times that others published")
    if document.get("is_pretend") or _machine(document).get("is_pretend"):
        raise ValueError("a run on a device must be given, got one on a pretend device; measure on a real one")
    if _machine(document) and identity_of(_machine(document)).kind not in MEASURABLE:
        raise ValueError("a run on a CPU or a CUDA device must be given, got one on neither")
    if not document["benchmarks"]:
        raise ValueError("a run must hold a row, got none")
    slug = _machine(document).get("device_slug")
    if not (isinstance(slug, str) and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug)):
        raise ValueError(f"device_slug must be words of letters and digits, got {slug!r:.60}")


def objections(document: Document) -> list[Objection]:
    """Everything that speaks against publishing a run, one a kind of doubt."""
    found = (
        (Doubt.DIRTY, _dirt(document)),
        (Doubt.PARTIAL, _gap(document)),
        (Doubt.FAILED, _failure(document)),
        (Doubt.ONE_THREADED, _idle_cpus(document)),
        (Doubt.BUSY, _business(document)),
        (Doubt.DISTURBED, _disturbance(document)),
        (Doubt.IMPOSSIBLE, _impossibility(document)),
    )
    return [Objection(doubt=doubt, reason=reason) for doubt, reason in found if reason]


def copy_run(run: Path, document: Document, results: Path) -> Path:
    """Copy a run and its tables below `results`, to the folder of its device; return the copy of the result file.

    A run that lies there already stays as it is. The tables come first: a result file stands for all that it names.

    Raises: ValueError if another file is there under its name, or the folder cannot be written.
    """
    target = results / str(_machine(document)["device_slug"]) / run.name
    if run.resolve().is_relative_to(results.resolve()):
        return run
    if target.exists() and target.read_bytes() != run.read_bytes():
        raise ValueError(f"{target}: a published run is never edited, got another file of that name; measure again")
    with writing(str(results), remedy="choose another folder with --to"):
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy_tables(tables_folder(run), tables_folder(target))
        with written_aside(target) as partial:
            shutil.copyfile(run, partial)
    return target


def _copy_tables(source: Path, target: Path) -> None:
    """Tables and figures alone, links and anything hidden left behind."""
    if not source.is_dir() or source.is_symlink():
        return
    staged = target.with_name(f".{target.name}.{os.getpid()}-{token_hex(4)}.partial")
    for path in sorted(source.rglob("*")):
        is_hidden = any(part.startswith(".") for part in path.relative_to(source).parts)
        if path.is_file() and not path.is_symlink() and path.suffix in _TABLE_SUFFIXES and not is_hidden:
            copy = staged / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    if staged.exists():
        shutil.rmtree(target, ignore_errors=True)
        staged.replace(target)


def _dirt(document: Document) -> str | None:
    stated = document.get("commit_info")
    commit = stated if isinstance(stated, Mapping) else {}
    if commit.get("dirty") is not False:
        return "the source tree had uncommitted changes, or does not say that it had none"
    is_commit = isinstance(commit.get("id"), str) and re.fullmatch(r"[0-9a-f]{7,40}", commit["id"])
    return None if is_commit else f"no commit is known, got {str(commit.get('id'))[:40]!r}"


def _gap(document: Document) -> str | None:
    if document.get("is_partial"):
        return "the run did not come to its end"
    unmeasured = [skip for skip in _skips(document) if skip["reason"].startswith("time budget")]
    return f"the time budget left out {len(unmeasured)} cases" if unmeasured else None


def _failure(document: Document) -> str | None:
    failed = [skip for skip in _skips(document) if skip["reason"].startswith("failed in")]
    return f"{len(failed)} tests failed, such as {failed[0]['name']}" if failed else None


def _idle_cpus(document: Document) -> str | None:
    """Threads of the run, and of any row that tells its own, against the CPUs that it was allowed."""
    machine = _machine(document)
    num_cpus = machine.get("num_cpus")
    if machine.get("device_kind") != "cpu" or not isinstance(num_cpus, int):
        return None
    threads = [machine.get("torch_threads"), *(row.get("torch_threads") for _, row in _rows(document))]
    fewest = min((count for count in threads if isinstance(count, int)), default=None)
    if fewest is None:
        return "the run does not tell its threads"
    return f"measured on {fewest} of {num_cpus} CPUs allowed" if fewest < num_cpus else None


def _business(document: Document) -> str | None:
    shares = [
        row["canary_bytes_per_s"] / row["ceiling_bytes_per_s"]
        for _, row in _rows(document)
        if row.get("canary_bytes_per_s") and row.get("ceiling_bytes_per_s")
    ]
    if not shares or statistics.median(shares) >= BUSY_SHARE:
        return None
    return f"between samples the machine read at {100 * statistics.median(shares):.0f} % of its own ceiling"


def _disturbance(document: Document) -> str | None:
    if document.get("disturbed"):
        return str(document["disturbed"])
    return disturbed_rows([row for _, row in _rows(document)])


def _impossibility(document: Document) -> str | None:
    fast = [name for name, row in _rows(document) if (row.get("fraction_of_ceiling") or 0.0) > MAX_FRACTION_OF_CEILING]
    return f"{len(fast)} rows beat the measured ceiling by over 10 %, such as {fast[0]}" if fast else None


def _rows(document: Document) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for bench in document["benchmarks"]:
        row = bench["extra_info"]
        yield str(row.get("case") or bench.get("name")), row


def _skips(document: Document) -> list[dict[str, str]]:
    listed = document.get("skipped")
    skips = [skip for skip in listed if isinstance(skip, Mapping)] if isinstance(listed, list) else []
    return [{"name": str(skip.get("name")), "reason": str(skip.get("reason"))} for skip in skips]


def _machine(document: Document) -> Mapping[str, Any]:
    machine = document.get("machine_info")
    return machine if isinstance(machine, Mapping) else {}
