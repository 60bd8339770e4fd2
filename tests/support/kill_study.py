"""Kill runs of the bench and the gate, and recoveries, two and three at once in one folder; count what is lost.

    python -m tests.support.kill_study --kills 200 [--seed 7] [--folder DIR]

Runs are forks of this process that measure nothing: rows are made, all that becomes of them is the product's own. Every
fork takes itself for process 1, as runs in containers do, so that all want the same names. Half of those that die kill
themselves at a random call to the system that changes a file; the others are killed from outside, at a random moment.
Killed journals are recovered by whoever comes next, who may be killed in turn. Every row that a run was told is on disk
must be in one result file in the end, once, as it was made.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from kinetics.bench.options import BenchSettings
from kinetics.bench.result_file import RunFile, complete_document
from kinetics.cases.kernels import GridOptions, GridSize
from kinetics.gate import session as gate_session
from kinetics.gate.evidence import CaseRun
from kinetics.gate.gate_file import Mode, complete, header
from kinetics.gate.launch import LaunchCase
from kinetics.gate.session import Session
from kinetics.machine.device import resolve_device
from kinetics.machine.facts import COMMIT_VARIABLE
from kinetics.results.journal import JOURNAL_SUFFIX
from kinetics.results.recovery import recover_journals
from kinetics.results.store import read_result
from kinetics.specs.ceilings import Ceilings
from tests.support.result_rows import make_document, make_row

Row = dict[str, Any]
Tell = Callable[[str], None]
ROLES: Final = ("bench", "gate", "recovery")
CALLS: Final = ("write", "fsync", "ftruncate", "replace", "rename", "unlink", "open", "close")
MAX_ROWS: Final = 6
CEILINGS: Final = Ceilings(
    read_bytes_per_s=2e10, cached_read_bytes_per_s=1e11, copy_bytes_per_s=1e10, matmul_flop_per_s=1e11, launch_s=2e-6,
    cache_bytes=2**25,
)  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Child:
    """A forked run. `names`: of the rows that it makes; `told`: file that names those it was told are on disk."""

    pid: int
    role: str
    names: list[str]
    told: Path


@dataclass(slots=True)
class Count:
    """What was done: kills by role, runs that ended well, and rows that were compared, at every look anew."""

    kills: Counter[str] = field(default_factory=Counter)
    num_ended: int = 0
    num_rows: int = 0
    num_rounds: int = 0


def bench(folder: Path, names: Sequence[str], tell: Tell) -> None:
    """A benchmark run, from its start beside others' journals to its file."""
    grid = GridOptions(size=GridSize.QUICK, device_kind="cpu", dtype="float32")
    settings = BenchSettings(
        device=resolve_device("cpu"), grid=grid, providers=(), time_budget_s=60.0, meters_energy=False,
        results_dir=folder, root=folder,
    )  # fmt: skip
    file, rows = RunFile(settings), [bench_row(name) for name in names]
    for name, row in zip(names, rows, strict=True):
        file.keep(row, machine_info={}, skips=[])
        tell(name)
    document = make_document(rows)
    file.complete(document, [])
    file.write(document)
    assert file.problem is None, file.problem


def gate(folder: Path, names: Sequence[str], tell: Tell) -> None:
    """A run of the gate whose launches are made."""
    place = gate_folder(folder)
    place.mkdir(parents=True, exist_ok=True)
    recover_journals(place, complete=complete)
    settings = {"grid": "smoke", "num_launches": 1, "num_launches_per_look": 1, "num_rounds": 1}
    document = header(
        mode=Mode.LOCKSTEP, plans=[], started_utc="", machine_info={}, ceilings=asdict(CEILINGS), settings=settings
    )
    session = Session(None, document, journal_at=place / "run.json", say=lambda _: None)  # type: ignore[arg-type]

    def launches(*_: object, **__: object) -> Iterator[CaseRun]:
        for name in names:
            yield gate_run(name)
            tell(name)

    vars(gate_session)["run_launch"] = launches
    session.take([LaunchCase(name=name, specs={}) for name in names], num_launches=1, look=1)
    session.finish(session.result, lost=None)


def recovery(folder: Path, _: Sequence[str], __: Tell) -> None:
    """`kinetics recover`, a few times."""
    for _again in range(4):
        recover_all(folder)


def recover_all(folder: Path) -> None:
    """What the command does."""
    for place in sorted({path.parent for path in folder.rglob(f"*{JOURNAL_SUFFIX}")}):
        for one in recover_journals(place, complete=complete if place.name == "gate" else complete_document):
            assert one.problem is None, f"a journal was not read whole: {one}"


def bench_row(name: str) -> Row:
    """One row, other than all others by its name alone."""
    seed = sum(map(ord, name))
    return make_row(case=name, context_len=512 + seed, samples=[1e-3 * (1 + seed / 1000 + i / 100) for i in range(9)])


def gate_run(name: str) -> CaseRun:
    return CaseRun(case=name, look=1, launch=sum(map(ord, name)), first_side="base", median_s={"base": 1e-3})


def gate_folder(folder: Path) -> Path:
    return folder / "cpu-made" / "gate"


def forked(role: str, folder: Path, names: Sequence[str], *, dies_at: int | None) -> Child:
    """Start a run. `dies_at`: which of its calls it does not survive."""
    told = folder / f"told_{os.urandom(8).hex()}"
    pid = os.fork()
    if pid == 0:
        try:
            descriptor = os.open(told, os.O_WRONLY | os.O_CREAT)
            write = os.write

            def tell(name: str) -> None:
                write(descriptor, f"{name}\n".encode())

            if dies_at is not None:
                die_at_call(dies_at)
            os.getpid = lambda: 1
            {"bench": bench, "gate": gate, "recovery": recovery}[role](folder, names, tell)
        except BaseException as error:
            import traceback

            traceback.print_exception(error)
            os._exit(1)
        os._exit(0)
    return Child(pid=pid, role=role, names=list(names), told=told)


def die_at_call(number: int) -> None:
    """Let this process kill itself at the call of this number among those that change files, before or after it."""
    left, pid, is_after = [number // 2], os.getpid(), number % 2

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def dying(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0 and not is_after:
                os.kill(pid, signal.SIGKILL)
            result = call(*arguments, **options)
            if left[0] == 0:
                os.kill(pid, signal.SIGKILL)
            return result

        return dying

    for name in CALLS:
        setattr(os, name, wrapped(getattr(os, name)))


def one_round(folder: Path, rng: random.Random, count: Count, *, longest_s: float) -> list[Child]:
    """Start two or three runs, kill some of them, wait for the others."""
    children, killed = [], []
    for number in range(rng.choice((2, 3))):
        role = rng.choice(ROLES if number else ROLES[:2])
        names = [f"{count.num_rounds}.{number}.{row}" for row in range(rng.randint(1, MAX_ROWS))]
        dies_at = rng.randint(2, 30 if role == "recovery" else 90) if rng.random() < 0.5 else None
        child = forked(role, folder, names if role != "recovery" else [], dies_at=dies_at)
        children.append(child)
        if dies_at is None and rng.random() < 0.7:
            killed.append(child)
    for child in killed:
        time.sleep(rng.uniform(0.0, longest_s / len(killed)))
        os.kill(child.pid, signal.SIGKILL)
    for child in children:
        _, status = os.waitpid(child.pid, 0)
        was_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert was_killed or status == 0, f"{child.role} ended with {status}"
        count.kills[child.role] += was_killed
        count.num_ended += not was_killed
    count.num_rounds += 1
    return children


def check(folder: Path, children: Sequence[Child], count: Count) -> None:
    """Recover, and compare what is in the result files with what was made and told."""
    for _ in range(2):  # the second time there is nothing to do
        recover_all(folder)
    made = {name: child.role for child in children for name in child.names}
    told = {name for child in children if child.told.exists() for name in child.told.read_text().split()}
    found: Counter[str] = Counter()
    for path in folder.rglob("*.json"):
        document = read_result(path)
        for row in document["benchmarks"]:
            name = row["extra_info"]["case"]
            expected = bench_row(name)
            assert (row["name"], row["stats"]) == (expected["name"], expected["stats"]), f"{name} was changed"
            found[name] += 1
        for run in document.get("runs", []):
            assert run == gate_run(run["case"]).as_row(), f"{run['case']} was changed"
            found[run["case"]] += 1
    lost, doubled = told - found.keys(), [name for name, times in found.items() if times > 1]
    assert not lost, f"{sorted(lost)} were lost, of {[made[name] for name in lost]}"
    assert not doubled, f"{doubled} are there twice"
    assert not found.keys() - made.keys(), f"{found.keys() - made.keys()} were never made"
    left = [path.name for path in folder.rglob("*") if path.is_file() and not path.name.startswith("told_")]
    assert all(name.endswith(".json") and not name.startswith(".") for name in left), f"{left} were left"
    count.num_rows += len(found)


def study(folder: Path, *, num_kills: int, seed: int) -> Count:
    """Rounds until so many runs were killed; every tenth begins in a folder of its own.

    Raises: AssertionError naming what was lost, doubled, changed or left.
    """
    os.environ[COMMIT_VARIABLE] = "0123456"
    rng, count = random.Random(seed), Count()
    started_s = time.perf_counter()
    calm = folder / "calm"
    calm.mkdir(parents=True)
    for role in ROLES:
        child = forked(role, calm, ["calm.0"] * (role != "recovery"), dies_at=None)
        assert os.waitpid(child.pid, 0)[1] == 0, role
    longest_s = 2.0 * (time.perf_counter() - started_s) / len(ROLES)
    children: list[Child] = []
    while count.kills.total() < num_kills:
        place = folder / str(count.num_rounds // 10)
        if not place.exists():
            children = []
            place.mkdir()
        children += one_round(place, rng, count, longest_s=longest_s)
        if rng.random() < 0.6:  # else the next round finds what this one left
            check(place, children, count)
    check(place, children, count)
    return count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="kill-study-"))
    count = study(folder, num_kills=options.kills, seed=options.seed)
    told = {"kills": dict(count.kills), "ended": count.num_ended, "rounds": count.num_rounds, "rows": count.num_rows}
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
