"""Whatever ends a verb early is one line on stderr, and the same cause has the same exit code everywhere."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from kinetics import __version__
from kinetics.cli.main import app


def ended(*arguments: str, code: int) -> str:
    """The one line that a command ended with."""
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == code, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["predic"], "kinetics has no verb 'predic'; did you mean predict?"),
        (["gate", "selftest"], "kinetics gate has no verb 'selftest'; did you mean self-test?"),
        (["qqq"], "kinetics has no verb 'qqq'; see kinetics --help"),
        (["cost", "--modl", "x"], "kinetics cost has no option --modl; did you mean --model or --mode?"),
        (["cost", "--model"], "--model must have a value, got none; see kinetics cost --help"),
        (["cost"], "--model must be given, got none; see kinetics cost --help"),
        (["cost", "--json=1"], "--json must stand alone, got a value; leave the value out"),
        (["coverage", "--samples", "4", "--correct", "1", "--trials", "1", "a"],
         "kinetics coverage must be given what its help names, got 'a' too many; "
         "see kinetics coverage --help"),
        (["cost", "--model", "Qwen3-8B", "--mode", "exactly"],
         "--mode must be one of exact, paper, got 'exactly'; did you mean exact?"),
    ],
)  # fmt: skip
def test_a_command_line_that_cannot_be_read_ends_in_the_words_of_the_project(arguments: list[str], line: str) -> None:
    assert ended(*arguments, code=2) == f"kinetics: {line}"


@pytest.mark.parametrize(
    "verb",
    [["law"], ["grade"], ["validate"], ["compare"], ["report"], ["import-latencies"], ["publish"]],
    ids=lambda verb: verb[0],
)
def test_a_file_that_is_not_there_ends_every_verb_with_3(verb, tmp_path):
    missing = str(tmp_path / "missing.jsonl")
    files = [missing, missing] if verb == ["compare"] else [missing]
    line = ended(*verb, *files, *(["--out", str(tmp_path / "out")] if verb == ["law"] else []), code=3)
    assert line.startswith(f"kinetics: {missing}")
    assert "cannot be read (No such file or directory)" in line


def test_a_result_file_that_is_none_ends_with_3(tmp_path):
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"benchmarks": [], "schema": 99}), encoding="utf-8")
    assert "schema must be 1, got 99" in ended("report", str(other), code=3)


def test_the_version_is_that_of_the_distribution():
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"kinetics {__version__}\n")


def test_a_bare_command_shows_its_help():
    done = CliRunner().invoke(app, [])
    assert done.exit_code == 2
    assert "Usage: kinetics" in done.output
    assert "kinetics: " not in done.stderr


def test_a_closed_pipe_is_no_traceback():
    reading, writing = os.pipe()
    os.close(reading)
    verb = [sys.executable, "-m", "kinetics", "coverage", "--samples", "4", "--correct", "1", "--trials", "2"]
    done = subprocess.run(verb, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
