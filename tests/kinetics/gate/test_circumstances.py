"""What held while a run measured is in its file and, in a line, below its table."""

import os

import pytest

from kinetics.gate.circumstances import circumstances, in_words

STEADY = {"cpus": [0, 1], "nice": 0, "governor": "performance", "clock_hz": 2.6e9, "load": 0.1}


def test_circumstances_are_those_of_this_process():
    found = circumstances()
    assert set(found) == set(STEADY)
    assert found["nice"] == os.nice(0)
    assert set(found["cpus"]) == os.sched_getaffinity(0)


def test_a_steady_machine_is_described_without_advice():
    expected = "Measured on CPUs 0, 1, nice 0, governor performance, 2.60 GHz, load 0.1 at the start"
    assert in_words(STEADY) == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"governor": "powersave"}, "; for narrower spreads set the governor to performance"),
        ({"governor": "mixed", "load": 2.0}, "set the governor to performance and wait until the machine is idle"),
        ({"governor": None, "clock_hz": None}, "governor not told, clock not told, load 0.1 at the start"),
        ({"load": 0.6}, "wait until the machine is idle"),
        ({"cpus": list(range(64)), "load": 15.0}, "Measured on 64 CPUs, nice 0"),
        ({"nice": -5}, "nice -5"),
    ],
)
def test_what_widens_the_spread_is_named_with_its_remedy(change, words):
    assert words in in_words(STEADY | change)


def test_a_load_that_leaves_most_cpus_idle_is_no_reason_to_wait():
    assert "wait" not in in_words(STEADY | {"cpus": list(range(64)), "load": 15.0})
