"""Cases are launched until each is decided, the minutes are spent, or others take the machine; never beyond."""

from __future__ import annotations

import pytest

from kinetics.gate.evidence import BASE, CANDIDATE, CaseRun
from kinetics.gate.launch import LaunchCase
from kinetics.gate.sequential import LOOKS
from kinetics.gate.until_decided import MAX_DISTURBED, Patience, take_until_decided
from kinetics.gate.verdicts import CasePlan

LAUNCH_S = 10.0
"""Seconds that a case takes in a launch."""
STEADY, OPEN = [0.0], [-0.4, 0.5]
"""Log-ratios that are decided at once, and that never are."""


class FakeSession:
    """Launches that take a made time and give made log-ratios, in turns."""

    def __init__(self, log_ratios, *, disturbance=None, refusals=None):
        self.now_s = 0.0
        self.told, self.launched, self._runs = [], [], []
        self._log_ratios, self._facts = log_ratios, {"disturbance": disturbance, "refusals": refusals or {}}

    def say(self, text):
        self.told.append(text)

    def of_case(self, name):
        return [run for run in self._runs if run.case == name]

    def launch(self, cases, *, look):
        for case in cases:
            self._runs.append(self._run(case.name, look))
            self.now_s += LAUNCH_S
        self.launched.append([case.name for case in cases])

    def _run(self, case, look):
        values, count = self._log_ratios[case], len(self.of_case(case))
        return CaseRun(
            case=case,
            look=look,
            launch=len(self.launched),
            first_side=BASE,
            log_ratios={CANDIDATE: values[count % len(values)]},
            median_s={BASE: 1.0, CANDIDATE: 1.0},
            **self._facts,
        )


def asked(session, *, minutes=60.0, max_launches=LOOKS[-1]):
    cases = [LaunchCase(name=name, specs={}) for name in session._log_ratios]
    plans = [CasePlan(name=case.name, spec={}, detectable_budget=1.0, budget=0.05) for case in cases]
    patience = Patience(seconds=60 * minutes, max_launches=max_launches)
    take_until_decided(session, cases, plans, patience, clock=lambda: session.now_s)
    return session


def test_a_decided_case_is_launched_no_more_and_an_open_one_is():
    session = asked(FakeSession({"steady": STEADY, "open": OPEN}), max_launches=10)
    assert session.launched[: LOOKS[0]] == [["steady", "open"]] * LOOKS[0]
    assert session.launched[LOOKS[0] :] == [["open"]] * (10 - LOOKS[0])
    assert "steady: SAME, +0.0 % after 4 launches" in session.told
    assert any(line.startswith("open: open, ") for line in session.told)


@pytest.mark.parametrize("minutes", [1.0, 2.0, 5.5])
def test_the_last_launch_is_one_that_ends_in_time(minutes):
    session = asked(FakeSession({"one": OPEN, "two": OPEN}), minutes=minutes)
    assert session.now_s <= 60 * minutes < session.now_s + 2 * LAUNCH_S
    assert session.told[-1] == "the time is up: 2 of 2 cases are open"


def test_the_first_launch_is_taken_however_short_the_time():
    assert asked(FakeSession({"one": OPEN}), minutes=0.0).launched == [["one"]]


def test_a_machine_that_others_took_is_not_asked_on():
    session = asked(FakeSession({"one": STEADY}, disturbance="a neighbour"))
    assert len(session.launched) == MAX_DISTURBED
    assert session.told[-1] == f"one: others disturbed {MAX_DISTURBED} of {MAX_DISTURBED} launches"


def test_a_case_that_a_side_refuses_is_launched_once():
    session = asked(FakeSession({"one": STEADY}, refusals={CANDIDATE: "no kernel"}))
    assert session.launched == [["one"]]
    assert session.told[-1] == "one: cannot be timed, no kernel"
