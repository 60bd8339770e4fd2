"""The base's grid counts: what the candidate deletes or loosens is told, and a base of any age may stay silent."""

import json

import pytest
from typer.testing import CliRunner

from kinetics.cli.main import app
from kinetics.gate.gate_file import read_gate_file
from kinetics.gate.tables import remarks
from kinetics.gate.union import BaseGrid, ToldCase, grid_remarks, joined, told_grid
from kinetics.gate.verdicts import CasePlan
from tests.support.fake_checkout import git

DENSE, SPARSE = "dense-ours-qwen3_8b-b1-c512-p16", "block_topk-ours-qwen3_8b-b1-c1k-k256-p16"
GRID = """
from enum import Enum
from types import SimpleNamespace
class GateGrid(Enum):
    SMOKE = "smoke"
def gate_cases(grid, device_kind):
    return [SimpleNamespace(name=name, budget=budget, detectable_budget=1.0) for name, budget in {cases!r}.items()]
"""


def _commit_grid(repository, cases):
    (repository / "kinetics" / "gate" / "cases.py").write_text(GRID.format(cases=cases))
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "grid")


@pytest.mark.usefixtures("calm")
def test_a_deleted_case_is_missing_and_a_loosened_budget_is_the_bases(repository, monkeypatch):
    _commit_grid(repository, {DENSE: 0.125, SPARSE: 0.25, "deleted": 0.05})
    monkeypatch.chdir(repository)
    out = repository / "runs" / "out.json"
    arguments = ["--device", "cpu", "--grid", "smoke", "--launches", "20", "--base", "HEAD", "--out", str(out)]
    ended = CliRunner().invoke(app, ["gate", *arguments])
    document = read_gate_file(out)
    found = {row["case"]: row for row in document["verdicts"]}
    assert ended.exit_code == 1, ended.output
    assert found["deleted"]["verdict"] == "MISSING"
    assert {row["name"]: row["budget"] for row in document["cases"]} == {DENSE: 0.125, SPARSE: 0.25}
    told = [line for line in remarks(document) if "base's budget" in line]
    assert len(told) == 1
    assert DENSE in told[0]
    assert json.loads(out.read_text())["base_grid"]["only_base"] == ["deleted"]


def test_a_base_without_a_grid_is_judged_by_the_candidates(repository):
    plan = CasePlan(name="a", spec={}, detectable_budget=0.1, budget=0.05)
    told = told_grid(repository, "cpu", "smoke")
    assert isinstance(told, str)
    plans, found = joined([plan], told)
    assert plans == [plan]
    assert found.only_base == ()
    assert found.untold == told


def test_a_case_that_only_the_candidate_has_keeps_its_own_budget():
    plan = CasePlan(name="new", spec={}, detectable_budget=0.1, budget=0.05)
    plans, found = joined([plan], [ToldCase(name="old", budget=0.02, detectable_budget=0.1)])
    assert plans == [plan]
    assert found.only_base == ("old",)
    assert found.own_budgets == {}


@pytest.mark.parametrize("told", [0.0, -0.05, 0.01])
def test_a_base_that_tells_no_budget_that_can_be_judged_tells_no_grid(tmp_path, told):
    folder = tmp_path / "kinetics" / "gate"
    folder.mkdir(parents=True)
    for package in (folder.parent, folder):
        (package / "__init__.py").touch()
    (folder / "cases.py").write_text(GRID.format(cases={"one": told}))
    found = told_grid(tmp_path, "cpu", "smoke")
    assert isinstance(found, str)
    assert "budget" in found


def test_a_base_without_a_grid_is_not_taken_for_the_one_that_is_installed(tmp_path):
    (tmp_path / "kinetics" / "gate").mkdir(parents=True)
    (tmp_path / "kinetics" / "gate" / "cases.py").write_text(GRID.format(cases={"one": 0.05}))
    found = told_grid(tmp_path, "cpu", "smoke")
    assert isinstance(found, str)
    assert "kinetics.gate" in found


def test_a_case_that_runs_something_else_under_its_name_is_told():
    plan = CasePlan(name="a", spec={"context_len": 512}, detectable_budget=0.1, budget=0.05)
    for spec, others in (({"context_len": 512}, ()), ({"context_len": 1024}, ("a",)), (None, ())):
        told = [ToldCase(name="a", budget=0.05, detectable_budget=0.1, spec=spec)]
        found = joined([plan], told)[1]
        assert found.other_specs == others
    assert grid_remarks(BaseGrid(other_specs=("a",))) == [
        "a: the candidate changes what is run under this name, on both sides"
    ]
