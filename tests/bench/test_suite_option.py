"""The option `--kinetics-gate` from outside: verdicts and exit codes, bad input in a line, what a side is given."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kinetics.bench.suite_option import relative_arguments, search_path, without_gate_options
from tests.support.fake_checkout import git
from tests.support.paths import ROOT
from tests.support.tiny_bench_suite import COST, make_suite, write

PLUGINS = ("-p", "pytest_benchmark.plugin", "-p", "kinetics.bench.plugin")


def run_pytest(root, *arguments, **environment):
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": f"src:{ROOT}:{ROOT / 'kernels'}"} | environment
    command = [sys.executable, "-m", "pytest", *PLUGINS, *arguments]
    return subprocess.run(
        command, cwd=root, env=os.environ | environment, capture_output=True, text=True, timeout=240, check=False
    )


def test_a_planted_slow_down_exits_1_and_leaves_the_tree_clean(tmp_path):
    root = make_suite(tmp_path / "repo")
    write(root, "src/package/cost.json", COST % 2e-3)
    before = git(root, "status", "--porcelain")
    done = run_pytest(
        root, "tests", "--kinetics-gate", "HEAD", "--kinetics-gate-markdown", str(tmp_path / "gate.md"),
        f"--kinetics-gate-bmf={tmp_path / 'bmf.json'}", "--benchmark-only", "--benchmark-json=b.json",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "tests/test_bench.py::test_one  SLOW" in done.stdout
    assert "| tests/test_bench.py::test_one | SLOW |" in (tmp_path / "gate.md").read_text()
    assert '"ratio-to-base"' in (tmp_path / "bmf.json").read_text()
    assert "launch 8: 1 of 1 tests are open" in done.stderr
    assert git(root, "status", "--porcelain") == before
    assert git(root, "worktree", "list").count("\n") == 0


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--kinetics-gate", "nowhere"], 2, "--kinetics-gate must name a commit of"),
        (["--kinetics-gate", "HEAD", "--kinetics-gate-minutes", "soon"], 2, "--kinetics-gate-minutes must be a number"),
        (
            ["--kinetics-gate", "HEAD", "--kinetics-gate-budget=0.5"],
            2,
            "budget must exceed the margin of 1 %, got 0.5 %",
        ),
        (["--kinetics-gate", "HEAD", "-k", "nothing_of_this_name"], 3, "the candidate must have a test that uses"),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, code, line):
    root = make_suite(tmp_path / "repo")
    done = run_pytest(root, "tests", *arguments)
    assert done.returncode == code, done.stderr
    lines = [text for text in done.stderr.splitlines() if not text.startswith("[")]
    assert len(lines) == 1, done.stderr
    assert line in lines[0]
    assert done.stdout == ""


def test_a_termination_signal_keeps_and_judges_what_was_measured(tmp_path):
    root = make_suite(tmp_path / "repo")
    command = [
        sys.executable,
        "-m",
        "pytest",
        *PLUGINS,
        "tests",
        "--kinetics-gate",
        "HEAD",
        "--kinetics-gate-out=a.json",
    ]
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": f"src:{ROOT}:{ROOT / 'kernels'}"}
    with subprocess.Popen(
        command, cwd=root, env=os.environ | environment, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr:
            if "launch 2" in line:
                process.send_signal(signal.SIGTERM)
                break
        assert process.wait(timeout=120) == 130
    document = json.loads((root / "a.json").read_text())
    assert (document["lost"], document["is_partial"], len(document["runs"])) == ("interrupted", True, 1)
    assert document["verdicts"][0]["verdict"] == "AMBIGUOUS"
    assert git(root, "worktree", "list").count("\n") == 0


def test_outside_git_it_says_what_to_do(tmp_path):
    done = run_pytest(tmp_path, "--kinetics-gate", "HEAD")
    assert (done.returncode, "must run inside a git checkout" in done.stderr) == (2, True)


def test_the_suites_own_benchmarks_go_to_its_own_gate():
    options = [f"--kinetics-gate-{name}" for name in ("minutes=2", "out=o", "markdown=m", "bmf=b")]
    done = run_pytest(ROOT, "bench", "--kinetics-gate", "no such", *options)
    assert "kinetics gate --base 'no such' --minutes 2 --out o --markdown m --bmf b (its own cases" in done.stderr
    assert (done.returncode, "--base must name a commit of" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["bench", "tests"], "got other tests beside them; name either alone"),
        (["bench", "--kinetics-gate-budget=3"], "budgets stand in kinetics/gate/cases.py"),
        (["bench/test_decode_step.py", "--kinetics-gate-build", "make"], "nothing is built"),
    ],
)
def test_what_the_suites_own_benchmarks_have_not_is_refused(arguments, line):
    done = run_pytest(ROOT, *arguments, "--kinetics-gate", "HEAD")
    assert (done.returncode, line in done.stderr) == (2, True), done.stderr


def test_a_side_of_the_gate_starts_no_gate(tmp_path):
    root = make_suite(tmp_path / "repo")
    done = run_pytest(root, "tests", "--kinetics-gate", "nowhere", "--benchmark-disable", KINETICS_GATE_SIDE="base")
    assert "1 passed" in done.stdout


def test_a_side_gets_all_arguments_but_the_gates_own():
    words = [
        "tests",
        "--kinetics-gate",
        "main",
        "-k",
        "x",
        "--kinetics-gate-out=a.json",
        "--kinetics-gate-minutes",
        "3",
    ]
    assert without_gate_options([*words, "-q"]) == ["tests", "-k", "x", "-q"]


def test_absolute_paths_within_the_checkout_become_the_sides_own(tmp_path):
    inside = tmp_path / "tests" / "a.py"
    assert relative_arguments([f"{inside}::test_a", "/usr", "-q"], tmp_path / "sub", tmp_path) == [
        "../tests/a.py::test_a", "/usr", "-q",
    ]  # fmt: skip


def test_the_search_path_keeps_its_order_and_maps_what_lies_in_the_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    paths = [str(tmp_path / "src"), "/usr/lib", str(tmp_path / ".venv/lib"), str(tmp_path), str(tmp_path / "src")]
    assert search_path(paths, tmp_path.resolve()) == ["src", "/usr/lib", str(Path(tmp_path / ".venv/lib")), "."]
