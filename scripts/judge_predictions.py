"""Measure everything that is promised of predictions, and print it as one table: errors, counts, times.

    pip install -e '.[silicon]' && python scripts/judge_predictions.py

Errors come from `kinetics validate --all`, counts from the figures in tests/data, times from processes of their own:
user and system seconds, which neighbours on the machine disturb less than the clock. Takes minutes.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kinetics.specs.cache_formats import find_cache_format
from kinetics.specs.known_models import find_architecture
from kinetics.tables.table import Table

ROOT = Path(__file__).parents[1]
PREDICT = "predict --model deepseek-ai/DeepSeek-V3.2 --on H200,B200,GB300 --batch 64 --context 32k --tp 8"
PREDICT_S, FIT_S, FIT_BYTES = 1.0, 300.0, 6e9
COLUMNS = ("promise", "promised", "found", "kept", "of")

Row = tuple[str, str, str, bool, str]


def errors(workers: int) -> Iterator[Row]:
    """Held-out errors of every operation, over all rows."""
    command = [sys.executable, "-m", "kinetics", "validate", "--all", "--json", "--workers", str(workers)]
    found = subprocess.run(command, stdout=subprocess.PIPE, check=False)  # noqa: S603 -- our own verb
    if found.returncode not in (0, 1):
        sys.exit(found.returncode)
    for one in json.loads(found.stdout)["promises"]:
        p90 = one["promised_p90"]
        promised = f"{one['promised_median']:.0%}" + (f" / {p90:.0%}" if p90 else "")
        shown = f"{one['median_error']:.1%} / {one['p90_error']:.1%}"
        of = f"{one['rows']:,} rows; {one['kernels_within']} of {one['kernels']} kernels by themselves"
        yield f"{one['operation']} {one['split']}: median / p90", promised, shown, one["kept"], of


def counts() -> Iterator[Row]:
    """Parameters and bytes of caches beside published ones."""
    parameters = _records("parameter_counts.csv")
    off = max(
        abs(find_architecture(row["model"]).num_parameters / int(row["num_parameters"]) - 1) for row in parameters
    )
    yield "parameters, largest difference", "0.1%", f"{off:.3%}", off <= 1e-3, f"{len(parameters)} models"
    caches = _records("cache_bytes.csv")
    same = sum(
        find_architecture(row["model"]).cache_bytes(1, find_cache_format(row["cache"])) == int(row["bytes_per_token"])
        for row in caches
    )
    yield "bytes of a token in the cache", "exact", f"{same} exact", same == len(caches), f"{len(caches)} models"


def times(workers: int) -> Iterator[Row]:
    """Seconds of one prediction, and of fitting every table."""
    seconds, _ = _cost([sys.executable, "-m", "kinetics", *PREDICT.split()])
    yield "predict, processor time", f"{PREDICT_S:g} s", f"{seconds:.2f} s", seconds <= PREDICT_S, "three devices"
    script = (
        "import sys; from kinetics.cli.main import app; app(sys.argv[1:], standalone_mode=False); "
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", script, *PREDICT.split()]
    has_torch = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)  # noqa: S603 -- our own verb
    yield "predict without torch", "yes", "no" if has_torch.returncode else "yes", not has_torch.returncode, ""
    with tempfile.TemporaryDirectory() as folder:
        fit = [sys.executable, "scripts/fit_silicon.py", "--out", f"{folder}/fits.csv", "--workers", str(workers)]
        seconds, peak_bytes = _cost(fit)
    each = seconds / workers
    yield f"fit of all tables, on {workers} cores", f"{FIT_S:g} s", f"{each:.0f} s", each <= FIT_S, "processor time"
    all_bytes = peak_bytes * (workers + 1)
    found = f"{all_bytes / 1e9:.1f} GB"
    yield "fit of all tables, memory", f"{FIT_BYTES / 1e9:g} GB", found, all_bytes <= FIT_BYTES, "all processes"


def _cost(command: list[str]) -> tuple[float, float]:
    """Processor seconds of a command and its children, and the largest one's bytes."""
    pid = os.posix_spawn(
        command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    )
    _, status, used = os.wait4(pid, 0)
    if status and os.waitstatus_to_exitcode(status) not in (0, 1):
        sys.exit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024.0


def _records(name: str) -> list[dict[str, str]]:
    with (ROOT / "tests" / "data" / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Print the table; exit with 1 if something is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    os.chdir(ROOT)
    rows = (*counts(), *times(asked.workers), *errors(asked.workers))
    print(Table(name="promises", columns=COLUMNS, rows=rows).as_markdown())
    sys.exit(0 if all(row[3] for row in rows) else 1)


if __name__ == "__main__":
    main()
