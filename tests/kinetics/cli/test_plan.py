"""`kinetics plan` says what a run on a GPU will hold and take, and fails where that is too much."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from kinetics.bench.options import _DEFAULT_TIME_BUDGET_S
from kinetics.cli import plan
from kinetics.cli.main import app


def run(*words):
    return CliRunner().invoke(app, ["plan", *words])


def test_the_default_grid_fits_a_card_of_80_gb_and_its_time():
    done = run("--on", "H100", "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["num_needless"] == 0
    assert document["total_s"] <= plan.MOST_S == _DEFAULT_TIME_BUDGET_S["cuda"]
    assert document["total_s"] == sum(document["fixed_s"].values()) + sum(
        sum(cell["seconds"].values()) for cell in document["cells"]
    )


def test_what_takes_too_long_ends_with_1(monkeypatch):
    monkeypatch.setattr(plan, "MOST_S", 10.0)
    assert run("--grid", "smoke", "--provider", "ours").exit_code == 1
    monkeypatch.setattr(plan, "MOST_S", 1e6)
    assert run("--grid", "smoke", "--provider", "ours").exit_code == 0


def test_unknown_words_are_refused_in_one_line():
    for words, line in (
        (("--grid", "huge"), "--grid must be one of smoke, quick, full, got 'huge'"),
        (("--provider", "theirs"), "--provider must be among"),
        (("--on", "Z9000"), "Z9000"),
    ):
        done = run(*words)
        assert done.exit_code == 2
        assert line in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
