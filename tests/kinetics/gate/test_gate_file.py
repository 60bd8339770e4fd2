"""A gate file whose launches cannot have been is refused in one line that names the launch."""

import pytest

from kinetics.gate.evidence import CaseRun
from kinetics.gate.gate_file import _check_run

WHOLE = {
    "median_s": {"base": 1e-3, "candidate": 1e-3},
    "canary_bytes_per_s": {"base": 1e9, "candidate": 1e9},
    "log_ratios": {"candidate": 0.0},
    "work": {"num_bytes": 1, "flop": 1, "num_launches": 1},
}


def checked(**facts):
    _check_run(CaseRun(**{"case": "case", "look": 1, "launch": 0, "first_side": "base", **WHOLE, **facts}), 3)


def test_a_whole_launch_a_refused_one_and_a_disturbed_one_are_taken():
    checked()
    checked(median_s={}, canary_bytes_per_s={}, log_ratios={}, refusals={"base": "no kernel"})
    checked(disturbance="a neighbour", median_s={"base": 1.0}, work={})


@pytest.mark.parametrize(
    ("facts", "complaint"),
    [
        ({"median_s": {}}, r"runs\[3\].median_s must tell the candidate's"),
        ({"canary_bytes_per_s": {"base": 1e9}}, r"runs\[3\].canary_bytes_per_s must tell the candidate's"),
        ({"median_s": {"base": -1.0, "candidate": 1.0}}, r"runs\[3\].median_s must be positive and finite, got -1.0"),
        ({"canary_bytes_per_s": {"candidate": float("nan")}}, "must be positive and finite, got nan"),
        ({"work": {"num_bytes": 1, "flop": 1}}, r"runs\[3\].work must tell num_launches"),
        ({"work": {"num_bytes": 2**64, "flop": 1, "num_launches": 1}}, r"runs\[3\].work must tell num_bytes"),
        ({"work": {"num_bytes": -1, "flop": 1, "num_launches": 1}}, r"runs\[3\].work must tell num_bytes"),
        (
            {"log_ratios": {"candidate": float("inf")}},
            r"runs\[3\]: log-ratios of 'candidate' must lie within 200 of 0, got inf",
        ),
    ],
)
def test_a_launch_that_cannot_have_been_is_refused(facts, complaint):
    with pytest.raises(ValueError, match=complaint):
        checked(**facts)
