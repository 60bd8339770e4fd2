"""Plant each bug of scripts/mutants.toml alone, run the tests named beside it, and print which went unnoticed, by room.

    python scripts/mutate.py [--room cost] [--only TEXT] [--jobs 2] [--at-least 0.92]

Bugs are planted in copies of the tree, never in the tree itself. A bug is noticed if its tests go red, do not end in
time, or cannot even be collected. The tests are run without a bug first. Exit codes: 0; 1 below --at-least; 3 if a
bug's text is not in its file exactly once, or its tests fail without it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "scripts" / "mutants.toml"
TIMEOUT_S = 300.0
_COPIED = ("bench", "docs", "kernels", "kinetics", "results", "scripts", "tests", "pyproject.toml", "README.md")
_RED, _UNCOLLECTED = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One bug: in `file`, the text `old` becomes `new`. `tests`: paths, with `::` where a part of one is enough."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def room(self) -> str:
        """The room it is planted in: `kernels`, `bench`, or the folder below kinetics/."""
        parts = Path(self.file).parts
        return parts[1] if parts[0] == "kinetics" and len(parts) > 2 else parts[0]

    def plant(self, tree: Path) -> str | None:
        """Write the bug into a tree; the reason if that cannot be done."""
        path = tree / self.file
        if not path.is_file():
            return f"{self.file} is gone"
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            return f"its text occurs {text.count(self.old)} times in {self.file}, needs once"
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")
        return None

    def remove(self, tree: Path) -> None:
        """Put back what the file holds here."""
        shutil.copyfile(ROOT / self.file, tree / self.file)


class Outcome(Enum):
    """What the tests made of a bug."""

    NOTICED = "noticed"
    SURVIVED = "SURVIVED"
    STALE = "STALE"


def read_mutants(path: Path = LIST) -> list[Mutant]:
    """The list of bugs.

    Raises: ValueError if two bugs have one name, or one changes nothing.
    """
    listed = tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    mutants = [Mutant(**row | {"tests": tuple(row["tests"])}) for row in listed]
    twice = [name for name, count in Counter(mutant.name for mutant in mutants).items() if count > 1]
    idle = [mutant.name for mutant in mutants if mutant.old == mutant.new]
    if twice or idle:
        raise ValueError(f"{path.name}: names must differ and bugs change something, got {', '.join(twice + idle)}")
    return mutants


def stale(mutants: Sequence[Mutant]) -> dict[str, str]:
    """The bugs that can no longer be planted, and why."""
    found = {}
    for mutant in mutants:
        path = ROOT / mutant.file
        count = path.read_text(encoding="utf-8").count(mutant.old) if path.is_file() else 0
        if count != 1:
            found[mutant.name] = f"its text occurs {count} times in {mutant.file}, needs once"
    return found


def run_tests(tests: Sequence[str], tree: Path) -> int:
    """pytest's exit code for these tests in a tree; 1 if they do not end in time."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]
    environment = os.environ | {"PYTHONPATH": f"{tree}{os.pathsep}{tree / 'kernels'}", "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(  # noqa: S603 - pytest, with tests that this repository names
        command, cwd=tree, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as running:
        try:
            return running.wait(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return _RED
        finally:
            _end_group(running)


def judge(mutant: Mutant, tree: Path) -> tuple[Outcome, str]:
    """Plant one bug in a tree, run its tests, take it out again."""
    if reason := mutant.plant(tree):
        return Outcome.STALE, reason
    try:
        code = run_tests(mutant.tests, tree)
    finally:
        mutant.remove(tree)
    if code == 0:
        return Outcome.SURVIVED, ""
    if code in (_RED, _UNCOLLECTED):
        return Outcome.NOTICED, ""
    return Outcome.STALE, f"pytest ended with {code}: are its tests where the list says?"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bugs that were asked for; print each as it is judged, then the table."""
    options = _options(arguments)
    mutants = [
        mutant
        for mutant in read_mutants(options.list)
        if options.room in ("", mutant.room) and options.only in mutant.name
    ]
    with _copies(options.jobs) as trees:
        if broken := _red_without_bugs(mutants, trees):
            print(f"red without a bug: {', '.join(broken)}", file=sys.stderr)
            return 3
        outcomes = dict(_judged(mutants, trees))
    print(table(mutants, outcomes))
    judged = [outcome for outcome in outcomes.values() if outcome is not Outcome.STALE]
    if len(judged) < len(mutants):
        return 3
    return int(judged.count(Outcome.NOTICED) < options.at_least * len(judged))


def table(mutants: Sequence[Mutant], outcomes: dict[Mutant, Outcome]) -> str:
    """The rate at which bugs were noticed, by room, and the names of those that were not."""
    by_room: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in mutants:
        by_room[mutant.room].append(mutant)
    lines = ["", f"{'room':<12} planted noticed  rate"]
    for room, planted in [*sorted(by_room.items()), ("all", list(mutants))]:
        counts = Counter(outcomes[mutant] for mutant in planted if mutant in outcomes)
        judged = counts[Outcome.NOTICED] + counts[Outcome.SURVIVED]
        rate = f"{100 * counts[Outcome.NOTICED] / judged:4.0f} %" if judged else "     -"
        lines.append(f"{room:<12} {judged:7} {counts[Outcome.NOTICED]:7} {rate}")
    for outcome in (Outcome.SURVIVED, Outcome.STALE):
        lines += [f"{outcome.value}: {m.room}: {m.name}" for m in mutants if outcomes.get(m) is outcome]
    return "\n".join(lines)


def _judged(mutants: Sequence[Mutant], trees: Sequence[Path]) -> Iterator[tuple[Mutant, Outcome]]:
    free: SimpleQueue[Path] = SimpleQueue()
    for tree in trees:
        free.put(tree)

    def one(mutant: Mutant) -> tuple[Outcome, str]:
        tree = free.get()
        try:
            return judge(mutant, tree)
        finally:
            free.put(tree)

    with ThreadPoolExecutor(len(trees)) as pool:
        running = {pool.submit(one, mutant): mutant for mutant in mutants}
        for number, done in enumerate(as_completed(running), start=1):
            mutant, (outcome, reason) = running[done], done.result()
            print(f"[{number}/{len(mutants)}] {outcome.value}: {mutant.name} {reason}".rstrip(), flush=True)
            yield mutant, outcome


def _red_without_bugs(mutants: Sequence[Mutant], trees: Sequence[Path]) -> list[str]:
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    if not tests or run_tests(tests, trees[0]) == 0:
        return []
    return [test for test in tests if run_tests([test], trees[0]) != 0]


@contextmanager
def _copies(count: int) -> Iterator[list[Path]]:
    with tempfile.TemporaryDirectory(prefix="kinetics-mutate-") as folder:
        trees = [Path(folder) / str(number) for number in range(count)]
        for tree in trees:
            tree.mkdir()
            for name in _COPIED:
                _copy(ROOT / name, tree / name)
        yield trees


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target)


def _end_group(running: subprocess.Popen[bytes]) -> None:
    """End what the tests may have left behind: workers, servers, browsers."""
    try:
        os.killpg(running.pid, 9)
    except ProcessLookupError:
        return


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--room", default="", help="only bugs of this room")
    parser.add_argument("--only", default="", help="only bugs whose name contains this")
    parser.add_argument("--jobs", type=int, default=2, help="copies of the tree that are tested at a time")
    parser.add_argument("--at-least", type=float, default=0.0, help="the share that must be noticed, else exit 1")
    parser.add_argument("--list", type=Path, default=LIST, help="another list of bugs")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
