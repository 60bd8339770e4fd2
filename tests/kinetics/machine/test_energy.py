"""Joules from fake counters: totals, and a reason wherever there is no number."""

# ruff: noqa: N802 - the names are those of pynvml

import time
from types import SimpleNamespace

import pytest

from kinetics.machine import energy
from kinetics.machine.device import resolve_device
from kinetics.machine.energy import EnergyMeter, energy_counter, joules_per_call, nvml_counter
from kinetics_kernels.unavailable import Unavailable
from tests.support.pretend_device import PretendDevice


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


BUSY_W, IDLE_W = 700.0, 100.0


def metered(device, *, replay_s, calls_per_run):
    """Joules per call of replays on a device that draws what it draws at work, and less while it waits."""
    counter = SimpleNamespace(
        read_j=lambda: BUSY_W * device.busy_s + IDLE_W * (device.clock() - device.busy_s),
        joules_since=lambda before: counter.read_j() - before,
    )
    return joules_per_call(
        counter, lambda: device.launch(replay_s), calls_per_run=calls_per_run, wait=device.wait, clock=device.clock
    )


@pytest.mark.parametrize("replay_s", [20e-6, 100e-6, 5e-3, 0.5])
def test_joules_of_a_call_are_power_times_time_however_short_a_replay_is(replay_s):
    joules = metered(PretendDevice(), replay_s=replay_s, calls_per_run=2)
    assert joules == pytest.approx(BUSY_W * replay_s / 2, rel=0.01)


def test_a_call_is_metered_over_thirty_ticks_of_the_counter():
    device = PretendDevice()
    metered(device, replay_s=100e-6, calls_per_run=1)
    assert device.clock() >= 3.0


def test_a_meter_reads_millijoules_as_joules(uuid):
    nvml = FakeNvml()
    readings = iter([5_000, 7_000, 9_500])
    nvml.nvmlDeviceGetTotalEnergyConsumption = lambda handle: next(readings)
    with EnergyMeter(nvml_counter(1, load=lambda: nvml)) as meter:
        pass
    assert meter.joules == pytest.approx(2.5)


def test_without_a_counter_there_is_a_reason_and_no_number():
    absent = energy_counter(resolve_device("cpu"))
    assert isinstance(absent, Unavailable)
    assert "on GPUs alone" in absent.reason
    with EnergyMeter(absent) as meter:
        pass
    assert (meter.joules, meter.unavailable) == (None, absent)


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
