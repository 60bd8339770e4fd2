"""Judging commits of a search by one case: by its code where that is known already, else by launches against GOOD.

A commit is BAD if the case takes more than half of what GOOD and BAD differ by: changes smaller than that, on the
way, are not what is searched for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from kinetics.gate.bisect import Answer, Bisection, CannotBisectError, Judged, Say, bisect
from kinetics.gate.cases import GateGrid, gate_cases
from kinetics.gate.checkout import checked_out, commit_of, repository_root
from kinetics.gate.decision import Verdict, look_at
from kinetics.gate.evidence import BASE, CANDIDATE
from kinetics.gate.identity import fingerprints, same_code
from kinetics.gate.launch import LaunchCase, LaunchSetup, run_launch
from kinetics.gate.process import WorkerLost
from kinetics.gate.sequential import LOOKS, decide
from kinetics.gate.session import launch_setup, probe_machine
from kinetics.gate.witness.fingerprint import Fingerprint
from kinetics.specs.names import unknown_name

BUDGET: Final = 0.02
"""BAD must be shown to be slower than GOOD; one that is shown to be within this is not searched."""
MAX_LAUNCHES: Final = 40
"""For one commit; one that is open then is skipped."""

TakeFingerprint = Callable[[Path], Fingerprint | str]
"""Of the case in a checkout; a line that says why there is none."""
TakeLaunches = Callable[[Path], Iterator[float]]
"""Log-ratios of the case in a checkout to GOOD, a launch each, as long as they are asked for; raises Unjudgeable."""


class Unjudgeable(Exception):  # noqa: N818 - an answer, not a fault
    """A commit that cannot run the case, computes it wrongly, or whose launches do not count."""


class CaseJudge:
    """Answers for commits. `limit`: the log-ratio to GOOD above which a commit is BAD, known after `measure_bad`."""

    def __init__(self, take_fingerprint: TakeFingerprint, take_launches: TakeLaunches) -> None:
        self._take_fingerprint = take_fingerprint
        self._take_launches = take_launches
        self._known: list[tuple[Fingerprint, Answer, str]] = []
        self.limit = math.nan

    def know(self, root: Path, name: str, answer: Answer) -> None:
        """Take the code of this checkout for the answer given."""
        found = self._take_fingerprint(root)
        if not isinstance(found, str):
            self._known.append((found, answer, name))

    def measure_bad(self, root: Path) -> float:
        """How much slower BAD is than GOOD, confirmed; sets the limit.

        Raises: CannotBisectError if it is not slower, or launches do not tell.
        """
        if len(self._known) == 2 and same_code(self._known[0][0], self._known[1][0]).is_same:
            raise CannotBisectError(
                "the case must differ between GOOD and BAD, got the same code in both; nothing to search"
            )
        values: list[float] = []
        try:
            for value in self._take_launches(root):
                values.append(value)
                decision = decide(values, budget=BUDGET)
                if decision.is_decided or len(values) >= 2 * MAX_LAUNCHES:
                    break
        except Unjudgeable as error:
            raise CannotBisectError(f"BAD cannot be judged against GOOD: {error}") from None
        if decision.verdict is not Verdict.SLOW:
            raise CannotBisectError(
                f"BAD must be slower than GOOD, got {decision.verdict.value} after {len(values)} launches "
                f"(ratio {look_at(values).ratio:.3f}); nothing to search"
            )
        mean = look_at(values).mean
        self.limit = mean / 2
        return math.exp(mean)

    def __call__(self, root: Path, commit: str) -> tuple[Answer, str, bool]:
        """The answer on one commit, why, and whether it took launches."""
        found = self._take_fingerprint(root)
        if not isinstance(found, str):
            for known, answer, name in self._known:
                if same_code(known, found).is_same:
                    return answer, f"the same code as {name}", False
        try:
            answer, reason = self._timed(root)
        except Unjudgeable as error:
            return Answer.SKIP, str(error), True
        if answer is not Answer.SKIP and not isinstance(found, str):
            self._known.append((found, answer, commit[:7]))
        return answer, reason, True

    def _timed(self, root: Path) -> tuple[Answer, str]:
        values: list[float] = []
        for value in self._take_launches(root):
            values.append(value)
            if len(values) not in LOOKS:
                continue
            look = look_at(values)
            if look.lower > self.limit or look.upper < self.limit:
                answer = Answer.BAD if look.lower > self.limit else Answer.GOOD
                return answer, f"{look.ratio:.3f} times GOOD's time, {len(values)} launches"
            if len(values) >= MAX_LAUNCHES:
                break
        return Answer.SKIP, f"{len(values)} launches do not tell it from the limit of {math.exp(self.limit):.3f}"


def find_slow_commit(
    start: Path, good: str, bad: str, case: str, *, device: str, grid: GateGrid, say: Say
) -> tuple[Bisection, float]:
    """The commit that made a case of the gate slower, and how much slower BAD is than GOOD.

    Raises: ValueError for a usage that cannot work; CannotBisectError; WorkerLost.
    """
    root = repository_root(start)
    commits = {name: commit_of(root, one, option=name) for name, one in (("GOOD", good), ("BAD", bad))}
    say("measuring this machine's ceilings")
    machine = probe_machine(root, device)
    cases = {one.name: one.spec for one in gate_cases(grid, machine.kind)}
    if case not in cases:
        raise ValueError(unknown_name("CASE must be one of the gate's", case, cases))
    with ExitStack() as stack:
        good_root = stack.enter_context(checked_out(root, commits["GOOD"]))

        def take_fingerprint(tree: Path) -> Fingerprint | str:
            return fingerprints(CANDIDATE, tree, device, {case: cases[case]})[case]

        def take_launches(tree: Path) -> Iterator[float]:
            place = launch_setup({BASE: good_root, CANDIDATE: tree}, device, machine)
            return _log_ratios(place, LaunchCase(name=case, specs=dict.fromkeys((BASE, CANDIDATE), cases[case])))

        judge = CaseJudge(take_fingerprint, take_launches)
        say("looking at the code of GOOD and BAD")
        judge.know(good_root, "GOOD", Answer.GOOD)
        with checked_out(root, commits["BAD"]) as bad_root:
            judge.know(bad_root, "BAD", Answer.BAD)
            say("launching BAD against GOOD")
            ratio = judge.measure_bad(bad_root)
        say(f"BAD takes {ratio:.3f} times as long as GOOD; a commit is bad from {math.exp(judge.limit):.3f} on")
        return bisect(root, commits["GOOD"], commits["BAD"], judge, say), ratio


def _log_ratios(place: LaunchSetup, case: LaunchCase) -> Iterator[float]:
    """Launches that count, without end. Raises: Unjudgeable if a side refuses, or of ten launches none counts."""
    num_disturbed = 0
    for launch in range(10 * MAX_LAUNCHES):
        try:
            (run,) = run_launch(place, [case], launch=launch, look=1)
        except WorkerLost as loss:
            raise Unjudgeable(str(loss)) from None
        if run.refusals:
            raise Unjudgeable("; ".join(f"{_SIDES[side]}: {why}" for side, why in run.refusals.items()))
        if run.counts:
            yield run.log_ratios[CANDIDATE]
        elif (num_disturbed := num_disturbed + 1) >= 10:
            raise Unjudgeable(f"ten launches do not count: {run.disturbance}")


_SIDES: Final = {BASE: "GOOD", CANDIDATE: "the commit"}


def timed_share(judged: Sequence[Judged]) -> str:
    """How many commits were timed, and how many known by their code."""
    num_timed = sum(one.is_timed for one in judged)
    return f"{len(judged)} commits judged: {num_timed} timed, {len(judged) - num_timed} by their code alone"
