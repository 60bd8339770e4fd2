"""Judging predictions on all tables of the installed package, a process per core, one device's table at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from kinetics.prediction.silicon_fits import device_of
from kinetics.prediction.silicon_judging import Judged, judge_groups
from kinetics.prediction.silicon_tables import read_measured
from kinetics.prediction.splits import Split
from kinetics.specs.hardware import Accelerator

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def known_systems(folder: Path) -> dict[str, Accelerator]:
    """Systems of the package that the table of accelerators knows, with their data sheets."""
    found = {}
    for path in sorted((folder / "data").iterdir()):
        try:
            found[path.name] = device_of(path.name)
        except ValueError:
            continue  # its figures are not in the table: nothing could be predicted for it
    return found


def judge_package(
    folder: Path,
    *,
    operations: Sequence[str],
    systems: Sequence[str],
    frameworks: Sequence[str],
    splits: Sequence[Split],
    workers: int,
) -> Iterator[tuple[str, list[Judged]]]:
    """(what was judged, its kernels) of every operation on every system, as they are done."""
    pairs = [(operation, system) for operation in operations for system in systems]
    for name in _THREADS:
        os.environ.setdefault(name, "1")  # of the workers: their systems are tiny, threads would wait for each other
    if workers == 1:
        yield from ((f"{o} on {s}", _judge_system(folder, o, s, frameworks, splits)) for o, s in pairs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = [(pair, pool.submit(_judge_system, folder, *pair, frameworks, splits)) for pair in pairs]
        for (operation, system), future in futures:
            yield f"{operation} on {system}", future.result()


def _judge_system(
    folder: Path, operation: str, system: str, frameworks: Sequence[str], splits: Sequence[Split]
) -> list[Judged]:
    groups = read_measured(folder, operation, systems=[system], frameworks=frameworks)
    return list(judge_groups(groups, splits))
