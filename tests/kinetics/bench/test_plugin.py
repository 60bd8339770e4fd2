"""The plugin as strangers meet it: it stands in nobody's way, and `record_case` works in their own folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kinetics.bench.folder import benchmarks_folder, reaches_benchmarks
from tests.support.documents import blocks
from tests.support.paths import ROOT

TINY = ("--device", "cpu", "--model", "qwen3_0.6b", "--batch", "1", "--context", "64", "--kv-budget", "48")

THEIR_CONFTEST = """
def pytest_addoption(parser):
    parser.addoption("--device", default="their own default")
"""

THEIR_TEST = """
def test_their_device(pytestconfig):
    assert pytestconfig.getoption("--device") == "their own default"

def test_their_benchmark(benchmark):
    benchmark.pedantic(sum, args=([1],), rounds=1)
"""

OUR_CASES_IN_THEIR_TEST = next(
    block.text for block in blocks() if block.document.name == "bench.md" and block.mark.startswith("test: ")
)
"""What docs/bench.md tells them to write."""

CASES_OF_TWO_CELLS = """
from dataclasses import replace
from test_mine import case_of

def test_other_cells_take_no_turns(not_slower, pytestconfig):
    mine = case_of("ours", pytestconfig)
    not_slower(mine, than=replace(mine, cell=replace(mine.cell, batch=2)))
"""


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """pytest in a stranger's folder, which knows this suite as an installed package alone."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'kernels'}"
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_other_peoples_options_and_benchmarks_stay_their_own(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(THEIR_CONFTEST)
    (tmp_path / "test_theirs.py").write_text(THEIR_TEST)
    done = run_pytest(tmp_path, "test_theirs.py")
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
    benched = run_pytest(tmp_path, "--benchmark-only")
    assert benched.returncode == 0, benched.stdout
    assert "Name (time in" in benched.stdout
    assert "measured ceilings" not in benched.stdout
    assert not (tmp_path / "runs").exists()


def test_cases_in_anybodys_test_leave_rows_in_their_folder(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(OUR_CASES_IN_THEIR_TEST)
    (tmp_path / "test_odd.py").write_text(CASES_OF_TWO_CELLS)
    done = run_pytest(tmp_path, "--benchmark-only", *TINY)
    assert "1 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    assert "cases must be of one cell to take turns" in done.stdout
    assert "Measured beside predicted" in done.stdout
    (path,) = (tmp_path / "runs").glob("cpu-*/*.json")
    rows = [benchmark["extra_info"] for benchmark in json.loads(path.read_text())["benchmarks"]]
    assert [(row["operation"], row["provider"]) for row in rows] == [("dense", "ours")] * 2


def test_without_benchmark_only_a_case_is_skipped_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(OUR_CASES_IN_THEIR_TEST)
    done = run_pytest(tmp_path, "-rs")
    assert done.returncode == 0, done.stdout
    assert "pytest --benchmark-only" in done.stdout
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "argument", ["bench/", "bench/test_decode_step.py::test_decode_step", ".", "kinetics.benchmarks"]
)
def test_a_path_that_reaches_the_benchmarks_is_recognised(argument: str) -> None:
    assert reaches_benchmarks([argument], ROOT)


@pytest.mark.parametrize("argument", ["tests", "tests/bench", "elsewhere/bench"])
def test_a_path_beside_the_benchmarks_is_not(argument: str) -> None:
    assert not reaches_benchmarks([argument], ROOT)


def test_a_folder_above_installed_benchmarks_does_not_reach_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / ".venv" / "kinetics"
    (package / "benchmarks").mkdir(parents=True)
    monkeypatch.setattr("kinetics.__file__", str(package / "__init__.py"))
    assert benchmarks_folder() == package / "benchmarks"
    assert not reaches_benchmarks(["."], tmp_path)
    assert reaches_benchmarks([str(package / "benchmarks" / "test_aime.py")], tmp_path)
