"""Joules from fake counters: totals, turns of a counter, and a reason wherever there is no number."""

# ruff: noqa: N802 - the names are those of pynvml

import time
from types import SimpleNamespace

import pytest

from kinetics import energy
from kinetics.energy import (
    Absent,
    EnergyMeter,
    RaplCounter,
    energy_counter,
    joules_per_call,
    nvml_counter,
    rapl_counter,
)
from kinetics.environment import resolve_device


class FakeNvml:
    class NVMLError(Exception):
        pass

    def __init__(self, *, init_error=None, power_w=250.0):
        self.init_error, self.power_w = init_error, power_w

    def nvmlInit(self):
        if self.init_error:
            raise self.NVMLError(self.init_error)

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        assert handle == "GPU-of-torch-1"
        return int(1000 * self.power_w * time.perf_counter())


@pytest.fixture
def uuid(monkeypatch):
    monkeypatch.setattr(energy, "gpu_uuid", lambda index: f"GPU-of-torch-{index}")


def package(folder, name, *, used_uj, range_uj=1000, says="package-0"):
    path = folder / name
    path.mkdir()
    (path / "name").write_text(f"{says}\n")
    (path / "energy_uj").write_text(f"{used_uj}\n")
    (path / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return path


def test_joules_of_a_call_are_power_times_time(uuid, monkeypatch):
    monkeypatch.setattr(energy, "METERED_S", 0.1)
    counter = nvml_counter(1, load=lambda: FakeNvml(power_w=250.0))
    joules = joules_per_call(counter, lambda: time.sleep(0.004), calls_per_run=2, wait=lambda: None)
    assert joules == pytest.approx(250.0 * 0.002, rel=0.5)
    assert joules > 250.0 * 0.002


def test_a_meter_reads_millijoules_as_joules(uuid):
    nvml = FakeNvml()
    readings = iter([5_000, 7_000, 9_500])
    nvml.nvmlDeviceGetTotalEnergyConsumption = lambda handle: next(readings)
    with EnergyMeter(nvml_counter(1, load=lambda: nvml)) as meter:
        pass
    assert meter.joules == pytest.approx(2.5)


def test_every_package_counts_once_and_a_counter_may_start_again(tmp_path):
    first = package(tmp_path, "intel-rapl:0", used_uj=900)
    second = package(tmp_path, "intel-rapl:1", used_uj=100)
    package(tmp_path, "intel-rapl:0:0", used_uj=1)  # the core's part of package 0
    platform = package(tmp_path, "intel-rapl:2", used_uj=0, says="psys")  # both packages and more
    counter = rapl_counter(tmp_path)
    assert isinstance(counter, RaplCounter)
    with EnergyMeter(counter) as meter:
        (first / "energy_uj").write_text("50")
        (second / "energy_uj").write_text("300")
        (platform / "energy_uj").write_text("700")
    assert meter.joules == pytest.approx((150 + 200) * 1e-6)


def test_without_a_counter_there_is_a_reason_and_no_number(tmp_path, monkeypatch, uuid):
    absent = rapl_counter(tmp_path)
    assert "shows no energy counter" in absent.reason
    with EnergyMeter(absent) as meter:
        pass
    assert (meter.joules, meter.absent_reason) == (None, absent.reason)
    package(tmp_path, "intel-rapl:0", used_uj=1)
    monkeypatch.setattr(energy, "_read_micro", lambda path: (_ for _ in ()).throw(PermissionError()))
    assert "only root may read" in rapl_counter(tmp_path).reason


def test_a_gpu_whose_driver_tells_nothing_has_a_reason(uuid):
    def missing():
        raise ImportError

    assert "is not installed" in nvml_counter(1, load=missing).reason
    assert "(driver not loaded)" in nvml_counter(1, load=lambda: FakeNvml(init_error="driver not loaded")).reason


def test_a_block_that_failed_has_no_energy():
    counter = SimpleNamespace(read_j=lambda: 1.0, joules_since=lambda before: 1.0)
    with pytest.raises(ZeroDivisionError), EnergyMeter(counter) as meter:
        1 / 0  # noqa: B018
    assert meter.joules is None


def test_this_machine_has_a_counter_or_a_reason():
    counter = energy_counter(resolve_device("cpu"))
    assert isinstance(counter, RaplCounter) or (isinstance(counter, Absent) and counter.reason)
