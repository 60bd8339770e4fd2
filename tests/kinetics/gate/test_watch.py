"""Neighbours and throttled clocks are seen; what cannot be read is not taken for quiet."""

import subprocess
import sys
import time

import pytest

from kinetics.gate.watch import Surroundings, Watch, gpu_complaint, nvidia_smi, own_cpu_s


def answers(pids, reasons):
    return lambda fields: pids if "pid" in fields else reasons


@pytest.mark.parametrize(
    ("pids", "reasons", "complaint"),
    [
        ("11\n12\n", "0x0000000000000001\n", None),
        ("11\n99\n", "0x0\n", "a neighbour on the device (pid 99)"),
        ("", "0x0000000000000028\n", "throttled (hardware slow-down, software thermal)"),
        ("", "0x0000000000000004\n", None),  # the power cap holds both sides alike
        ("", "[N/A]\n", "the state of the GPU cannot be read"),
    ],
)
def test_neighbours_and_throttling_are_named(pids, reasons, complaint):
    found = gpu_complaint([11, 12], query=answers(pids, reasons))
    assert found == complaint if complaint is None else found.startswith(complaint)


@pytest.mark.parametrize("known", ["clocks_event_reasons.active", "clocks_throttle_reasons.active"])
def test_the_reason_of_a_low_clock_is_read_under_either_name(known):
    def query(fields):
        if "pid" in fields:
            return ""
        if known not in fields:
            raise OSError("nvidia-smi: exit status 2")
        return "0x0000000000000080"

    assert gpu_complaint([], query=query) == "throttled (brake)"


def test_a_gpu_that_cannot_be_read_is_not_quiet(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert "cannot be read" in gpu_complaint([], query=nvidia_smi("0"))


def test_a_busy_neighbour_is_counted_and_our_own_work_is_not():
    code = "import time; end = time.time() + 1.2\nwhile time.time() < end: pass"
    watch = Watch(own_cpu_s, gpu=None)
    neighbour = subprocess.Popen([sys.executable, "-c", code])
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        pass
    with_neighbour = watch.seen().others_cpu_share
    neighbour.wait()
    assert with_neighbour > 0.05
    claims_all = Watch(lambda: 1e3 * time.monotonic(), gpu=None)
    time.sleep(0.2)
    assert claims_all.seen().others_cpu_share == 0.0


def test_what_is_wrong_under_load_is_remembered_when_the_device_is_idle_again():
    answers = iter([None, "throttled (brake)", None])
    watch = Watch(own_cpu_s, gpu=lambda: next(answers))
    watch.look()
    assert watch.seen().complaint == "throttled (brake)"


def test_a_complaint_of_the_gpu_comes_before_a_busy_host():
    both = Surroundings(others_cpu_share=0.9, complaint="throttled (brake)")
    assert both.disturbance == "throttled (brake)"
    assert Surroundings(others_cpu_share=0.9, complaint=None).disturbance == "other programs took 90 % of the CPUs"
    assert Surroundings(others_cpu_share=0.1, complaint=None).disturbance is None
