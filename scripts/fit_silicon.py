"""Fit every kernel of the installed aiconfigurator-core tables and write the table of fits that ships with the suite.

    pip install aiconfigurator-core && python scripts/fit_silicon.py --out kinetics/prediction/silicon_fits.csv

Only the newest version of each kernel is kept; older ones serve to judge (`kinetics validate --split version`).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from kinetics.prediction.silicon_fits import MIN_ROWS, SiliconFit, fit_measured, newest, write_fits
from kinetics.prediction.silicon_package import systems_folder
from kinetics.prediction.silicon_tables import OPERATIONS, read_measured


def fit_system(operation: str, system: str) -> list[SiliconFit]:
    folder = systems_folder()
    assert folder is not None
    groups = read_measured(folder, operation, systems=[system])
    return [fit_measured(group) for group in groups if len(group.seconds) >= MIN_ROWS]


def all_fits(operations: list[str], systems: list[str], *, workers: int) -> Iterator[tuple[str, list[SiliconFit]]]:
    pairs = [(operation, system) for operation in operations for system in systems]
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # of the workers: their systems are tiny, threads would wait for each other
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = {pair: pool.submit(fit_system, *pair) for pair in pairs}
        for (operation, system), future in futures.items():
            yield f"{operation} on {system}", future.result()


def summary(fits: list[SiliconFit]) -> str:
    by_operation = defaultdict(list)
    for fit in fits:
        by_operation[fit.operation].append(fit)
    lines = []
    for operation, group in by_operation.items():
        rows = sum(fit.num_rows for fit in group)
        median = sorted(fit.held_out.median for fit in group)[len(group) // 2]
        lines.append(f"{operation:16} {len(group):5} fits {rows:9,} rows   median fit's held-out median {median:6.1%}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("kinetics/prediction/silicon_fits.csv"))
    parser.add_argument("--operation", action="append", choices=OPERATIONS, help="only this one; may be repeated")
    parser.add_argument("--system", action="append", help="only this one; may be repeated")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    folder = systems_folder()
    if folder is None:
        sys.exit("aiconfigurator-core is not installed; pip install aiconfigurator-core")
    systems = asked.system or sorted(path.name for path in (folder / "data").iterdir())
    started, fits = time.monotonic(), []
    for name, found in all_fits(asked.operation or list(OPERATIONS), systems, workers=asked.workers):
        fits += found
        print(f"{time.monotonic() - started:6.1f} s  {name}: {len(found)} fits", file=sys.stderr)
    kept = newest(fits)
    asked.out.write_text(write_fits(kept), encoding="utf-8")
    print(f"{asked.out}: {len(kept)} fits in {time.monotonic() - started:.0f} s\n{summary(kept)}")


if __name__ == "__main__":
    main()
