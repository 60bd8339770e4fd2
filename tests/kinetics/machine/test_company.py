"""Company is counted between two readings, on the CPUs that are ours, and what cannot be read is not zero."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kinetics.machine import company
from kinetics.machine.company import CompanyWatch, hottest_c


def times(busy: float, steal: float | None = 0.0) -> SimpleNamespace:
    fields = {"user": busy / 2, "system": busy / 4, "nice": busy / 4, "idle": 1e6}
    return SimpleNamespace(**fields) if steal is None else SimpleNamespace(**fields, steal=steal)


def pretend(monkeypatch: pytest.MonkeyPatch, readings: list[Any], *, own: list[float], walls: list[float]) -> None:
    switches = iter([10, 30])
    monkeypatch.setattr(company, "allowed_cpus", lambda: (0, 2))
    monkeypatch.setattr(company.psutil, "cpu_times", lambda percpu: readings.pop(0))
    monkeypatch.setattr(company.psutil, "cpu_count", lambda: 4)
    monkeypatch.setattr(company.psutil, "sensors_temperatures", dict, raising=False)
    counts = lambda: SimpleNamespace(num_ctx_switches=lambda: SimpleNamespace(involuntary=next(switches)))  # noqa: E731
    monkeypatch.setattr(company.psutil, "Process", counts)
    monkeypatch.setattr(company.os, "getloadavg", lambda: (6.0, 0.0, 0.0))
    monkeypatch.setattr(company.time, "monotonic", lambda: walls.pop(0))
    monkeypatch.setattr(company.time, "process_time", lambda: own.pop(0))


def test_shares_are_of_our_cpus_and_leave_our_own_work_out(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = [times(0.0)] * 4, [times(6.0, 1.0), times(999.0), times(4.0, 1.0), times(999.0)]
    pretend(monkeypatch, [before, after], own=[1.0, 6.0], walls=[100.0, 110.0])
    seen = CompanyWatch().seen()
    assert seen.others_cpu_share == pytest.approx((10.0 - 5.0) / 20.0)
    assert seen.steal_share == pytest.approx(2.0 / 20.0)
    assert seen.involuntary_switches_per_s == pytest.approx(2.0)
    assert seen.load_per_cpu == pytest.approx(1.5)
    assert seen.temperature_c is None
    assert set(seen.row_fields()) == {
        "others_cpu_share", "steal_share", "involuntary_switches_per_s", "load_per_cpu", "temperature_c",
        "device_complaint",
    }  # fmt: skip


def test_a_system_without_steal_tells_none(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = [[times(0.0, None)] * 4, [times(1.0, None)] * 4]
    pretend(monkeypatch, readings, own=[0.0, 9.0], walls=[0.0, 1.0])
    seen = CompanyWatch().seen()
    assert seen.steal_share is None
    assert seen.others_cpu_share == 0.0


def test_the_first_complaint_of_a_device_is_remembered() -> None:
    answers = iter([None, "throttled (brake)", None])
    watch = CompanyWatch(lambda: next(answers))
    watch.look()
    watch.look()
    watch.look()
    assert watch.seen().device_complaint == "throttled (brake)"


def test_the_hottest_sensor_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = {"a": [SimpleNamespace(current=40.0), SimpleNamespace(current=71.5)], "b": [SimpleNamespace(current=0.0)]}
    monkeypatch.setattr(company.psutil, "sensors_temperatures", lambda: groups, raising=False)
    assert hottest_c() == 71.5
