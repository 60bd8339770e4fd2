"""What a page is made of: result files, a baseline, and the frontiers of law documents. Draws nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kinetics.compare.comparison import Comparison, compare_files, is_one_device
from kinetics.data_files import DataFileError
from kinetics.law.stored_frontiers import LawTask, split_law_documents
from kinetics.result_files import ResultFile, read_result_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Everything that a page shows. `regressions` holds one comparison per file of the baseline's device."""

    files: tuple[ResultFile, ...]
    tasks: tuple[LawTask, ...]
    baseline: ResultFile | None
    regressions: tuple[Comparison, ...]


def read_sources(paths: Sequence[Path], *, baseline: Path | None) -> Sources:
    """Result files and law documents, and the runs that can be held against the baseline.

    Raises: DataFileError naming a file that is neither, or a baseline of a device that no file shares.
    """
    tasks, result_paths = split_law_documents(paths)
    read = read_result_files(result_paths + ([baseline] if baseline else []))
    files, base = (read[:-1], read[-1]) if baseline else (read, None)
    return Sources(
        files=tuple(files),
        tasks=tuple(tasks),
        baseline=base,
        regressions=tuple(_regressions(files, base)) if base else (),
    )


def _regressions(files: Sequence[ResultFile], base: ResultFile) -> list[Comparison]:
    same = [file for file in files if is_one_device([base, file])]
    if not same:
        raise DataFileError(
            f"{base.path}: baseline must be of the device of another file, got {base.device} alone; "
            "across devices use kinetics compare"
        )
    # One that shares no case with the baseline has nothing to be held against.
    sharing = [file for file in same if {row.case_key for row in file.rows} & {row.case_key for row in base.rows}]
    if not sharing:
        raise DataFileError(f"{base.path}: baseline must share a case with another file of its device, got none")
    return [compare_files([base, file]) for file in sharing]
