"""What a page is made of: result files, a baseline, and the frontiers of law documents. Draws nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kinetics.compare.comparison import Comparison, compare_files, is_one_device
from kinetics.files.lines import DataFileError
from kinetics.law.stored_frontiers import LawTask, split_law_documents
from kinetics.results.reader import ResultFile, read_result_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Everything that a page shows.

    `regressions`: one comparison per file that shares a case with the baseline; `not_held`: files of its device that
    share none; `other_devices`: per file of another device, its label and in what that differs from the baseline's.
    """

    files: tuple[ResultFile, ...]
    tasks: tuple[LawTask, ...]
    baseline: ResultFile | None
    regressions: tuple[Comparison, ...]
    not_held: tuple[ResultFile, ...]
    other_devices: tuple[tuple[str, str], ...]


def read_sources(paths: Sequence[Path], *, baseline: Path | None) -> Sources:
    """Result files and law documents, and the runs that can be held against the baseline.

    Raises: DataFileError naming a file that is neither, or a baseline of a device that no file shares.
    """
    tasks, result_paths = split_law_documents(paths)
    read = read_result_files(result_paths + ([baseline] if baseline else []))
    files, base = (read[:-1], read[-1]) if baseline else (read, None)
    held, not_held = _split_by_baseline(files, base) if base else ([], [])
    return Sources(
        files=tuple(files),
        tasks=tuple(tasks),
        baseline=base,
        regressions=tuple(compare_files([base, file]) for file in held) if base else (),
        not_held=tuple(not_held),
        other_devices=tuple(_other_devices(files, base)) if base else (),
    )


def _other_devices(files: Sequence[ResultFile], base: ResultFile) -> list[tuple[str, str]]:
    """Files that nothing regresses in: another device, or times that others published."""
    others = [file for file in files if not is_one_device([base, file])]
    return [(file.label, "; ".join(base.identity.differences(file.identity)) or file.origin.value) for file in others]


def _split_by_baseline(files: Sequence[ResultFile], base: ResultFile) -> tuple[list[ResultFile], list[ResultFile]]:
    """(files of the baseline's device that share a case with it, those of its device that share none)."""
    same = [file for file in files if is_one_device([base, file])]
    if not same:
        raise DataFileError(
            f"{base.path}: baseline must be of the device of another file, got {base.device} alone; "
            "across devices use kinetics compare"
        )
    keys = {row.case_key for row in base.rows}
    sharing = [file for file in same if any(row.case_key in keys for row in file.rows)]
    if not sharing:
        raise DataFileError(f"{base.path}: baseline must share a case with another file of its device, got none")
    return sharing, [file for file in same if file not in sharing]
