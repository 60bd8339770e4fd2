"""Every case gets the conditions of the run, gives them back, and is refused if they changed meanwhile."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kinetics.machine import conditions
from kinetics.machine.conditions import ConditionsChangedError, current_conditions, governor_of, session_conditions
from kinetics.specs.identity import DeviceIdentity


@pytest.fixture(autouse=True)
def _give_back() -> object:
    before = current_conditions()
    yield
    torch.set_num_threads(before.torch_threads)
    os.sched_setaffinity(0, before.cpus)


def test_a_leak_of_what_ran_before_reaches_no_case_and_is_left_as_it_was() -> None:
    wanted = replace(current_conditions(), torch_threads=2)
    torch.set_num_threads(3)
    with wanted.held():
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 3


def test_the_cpus_of_the_run_are_given_to_a_case_and_taken_back() -> None:
    wanted = current_conditions()
    if len(wanted.cpus) < 2:
        pytest.skip("needs two CPUs to tell them apart")
    os.sched_setaffinity(0, wanted.cpus[:1])
    with wanted.held():
        assert current_conditions().cpus == wanted.cpus
    assert current_conditions().cpus == wanted.cpus[:1]


def test_threads_that_change_within_are_refused_and_given_back() -> None:
    wanted = current_conditions()
    with pytest.raises(ConditionsChangedError, match="torch_threads from"), wanted.held():
        torch.set_num_threads(wanted.torch_threads + 1)
    assert torch.get_num_threads() == wanted.torch_threads


def test_a_governor_that_changes_within_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = replace(current_conditions(), governor="performance")
    monkeypatch.setattr(conditions, "governor_of", lambda cpus, folder: "powersave")
    with pytest.raises(ConditionsChangedError, match="governor from performance to powersave"), wanted.held():
        pass


def test_an_error_within_is_what_comes_out() -> None:
    wanted = current_conditions()

    def fail() -> None:
        torch.set_num_threads(wanted.torch_threads + 1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), wanted.held():
        fail()
    assert current_conditions() == wanted


def test_cpus_that_are_no_longer_allowed_are_named() -> None:
    impossible = replace(current_conditions(), cpus=(4095,))
    with pytest.raises(ConditionsChangedError, match="must be allowed as at the start of the run"), impossible.held():
        pass


@pytest.mark.parametrize(
    ("quota", "environment", "threads"),
    [(4.0, {}, 4), (2.5, {}, 2), (0.5, {}, 1), (4.0, {"OMP_NUM_THREADS": "3"}, 3), (4.0, {"OMP_NUM_THREADS": "x"}, 4)],
)
def test_a_run_uses_the_cpus_it_is_allowed_and_paid_for(
    monkeypatch: pytest.MonkeyPatch, quota: float, environment: dict[str, str], threads: int
) -> None:
    monkeypatch.setattr(conditions, "allowed_cpus", lambda: (0, 1, 2, 3))
    identity = DeviceIdentity(kind="cpu", name="made", facts={"cpu_quota": quota})
    monkeypatch.setattr(conditions, "cpu_identity", lambda: identity)
    wanted = session_conditions(environment)
    assert wanted.torch_threads == threads
    assert wanted.row_fields() == {"torch_threads": threads, "num_cpus": 4, "governor": wanted.governor}


def test_a_governor_is_one_of_all_cpus_or_mixed_or_unknown(tmp_path: Path) -> None:
    for cpu, name in enumerate(["performance", "performance", "powersave"]):
        folder = tmp_path / f"cpu{cpu}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{name}\n")
    assert governor_of([0, 1], tmp_path) == "performance"
    assert governor_of([1, 2], tmp_path) == "mixed"
    assert governor_of([7], tmp_path) is None
