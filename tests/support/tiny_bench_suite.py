"""Somebody's pytest-benchmark suite in a git repository of its own, on a clock that moves as planted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kinetics.gate.suite import SuiteRequest
from kinetics.gate.suite_launch import SuiteSetting
from tests.support.fake_checkout import dedent, git

CLOCK = """
    import json, pathlib
    COST = json.loads((pathlib.Path(__file__).parent / "cost.json").read_text())
    now = [0.0]
    def clock():
        return now[0]
    def work(name):
        now[0] += COST[name]
        return name
    """
HEAD = """
    import os, pytest, random, uuid, package
    pytestmark = pytest.mark.benchmark(timer=package.clock)
    """
ONE_TEST = """
    def test_one(benchmark):
        assert benchmark(package.work, "one") == "one"
    """
COST = '{"one": %s}'


def make_suite(root: Path, *tests: str, cost: str = COST % 1e-3) -> Path:
    """One commit of a package in src/ and its tests."""
    root.mkdir(parents=True, exist_ok=True)
    write(root, "src/package/__init__.py", dedent(CLOCK))
    write(root, "src/package/cost.json", cost)
    write(root, "tests/test_bench.py", dedent(HEAD) + "".join(map(dedent, tests or (ONE_TEST,))))
    write(root, ".gitignore", "__pycache__/\n")
    git(root, "init", "-q", "-b", "main")
    commit(root, "base")
    return root


def write(root: Path, name: str, text: str) -> None:
    """One file of the working tree."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def commit(root: Path, message: str) -> str:
    """The commit of all that is there."""
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", message)
    return git(root, "rev-parse", "HEAD")


def request(root: Path, **facts: Any) -> SuiteRequest:
    """A gate of the suite against HEAD, without any plug-in but pytest-benchmark."""
    setting = SuiteSetting(
        folder=".",
        arguments=("tests", "-p", "pytest_benchmark.plugin"),
        files=("tests",),
        paths=tuple(facts.pop("paths", ("src",))),
        cache_dir="",
    )
    asked: dict[str, Any] = {"base": "HEAD", "minutes": 10.0, "budget": 0.05, "build": "", "out": None}
    return SuiteRequest(root=root, setting=setting, folder=root.parent / "kept", **(asked | facts))
