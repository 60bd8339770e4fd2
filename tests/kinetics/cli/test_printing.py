"""What a verb prints for people: units and words, nothing cut at 80 columns; its JSON is JSON. By its own example."""

import json
import re
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from kinetics.cli.main import app
from kinetics.compare.summary import WIDTH
from kinetics.results.reader import UnusedKind, read_result_files
from kinetics.tables.document import document_lines
from tests.support.documents import help_examples
from tests.support.hostile_options import make_files, replace_long_work
from tests.support.paths import ROOT

GROUP: Any = typer.main.get_command(app)
LINES = [*(command.line for command in help_examples(GROUP)), GROUP.commands["gate"].epilog.removeprefix("Example: ")]
EXAMPLES = {line: tuple(shlex.split(line.rpartition("kinetics ")[2])) for line in LINES}
"""The words behind `kinetics` of every example that `--help` shows."""
BAD = {
    "a dict of Python": re.compile(r"[{\[]'"),
    "an exponent": re.compile(r"\b\d(\.\d+)?e[+-]?\d+\b"),
    "a cut cell": re.compile("…"),
    "None, True or False": re.compile(r"\b(None|True|False)\b"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the files that the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    make_files(folder)
    subprocess.run(["git", "update-ref", "refs/remotes/origin/main", "HEAD"], cwd=folder, check=True)
    (folder / "results").symlink_to(ROOT / "results")
    return folder


def expanded(words: tuple[str, ...], folder: Path) -> list[str]:
    """The example's words, stars replaced as a shell does, and a run of one's own made for `publish`."""
    found: list[str] = []
    for word in words:
        if word.startswith("runs/") and word.endswith(".json"):
            (folder / word).parent.mkdir(parents=True, exist_ok=True)
            (folder / word).write_bytes((folder / "run.json").read_bytes())
        found += sorted(str(path.relative_to(folder)) for path in folder.glob(word)) if "*" in word else [word]
    return found


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_example_of_every_verb_runs_and_prints_for_people(example, folder, monkeypatch):
    replace_long_work(monkeypatch)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    words = [word for word in expanded(EXAMPLES[example], folder) if word != "--json"]
    if words[0] == "publish":
        words += ["--to", "published", "--no-quote"]
    if words[0] == "providers":
        words = ["cpu" if word == "cuda" else word for word in words]
    if words[0] == "validate" and find_spec("aiconfigurator_core") is None:
        words = ["validate", "latencies.csv"]
    if words[:2] == ["gate", "bisect"]:
        words[2] = "HEAD"
    if words[:2] == ["gate", "trend"]:
        words[2] = "runs/made"
    if words[0] == "report":
        words = [word for word in words if "cpu-" not in word]  # thousands of rows take seconds
    done = CliRunner().invoke(app, words, input="so \\boxed{204}")
    assert done.exit_code in (0, 1), done.stderr
    for what, pattern in BAD.items():
        found = pattern.search(done.stdout)
        assert not found, f"{what}: {done.stdout[max(0, found.start() - 60) : found.end() + 60]!r}"


def test_every_verb_has_an_example():
    assert {words[0] for words in EXAMPLES.values()} == {
        name for name, verb in GROUP.commands.items() if not verb.hidden
    }


def test_compare_fits_two_screens_and_says_first_who_is_faster(folder, monkeypatch):
    monkeypatch.chdir(folder)
    words = next(words for words in EXAMPLES.values() if words[0] == "compare")
    done = CliRunner().invoke(app, expanded(words, folder))
    lines = done.stdout.splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= WIDTH
    assert "times as fast as A" in lines[0]
    everything = CliRunner().invoke(app, [*expanded(words, folder), "--all"]).stdout
    assert len(everything.splitlines()) > 100
    assert "vllm_flash_attn_fa3" in everything


def test_none_of_the_suite_s_own_rows_is_invalid():
    files = read_result_files(sorted((ROOT / "results").glob("*/*.json")))
    assert not [row for file in files for row in file.left_out if row.kind is UnusedKind.INVALID]


def test_a_document_is_told_in_units():
    document = {
        "predicted_s": 2.8e-5, "memory_bytes": 2**34, "read_bytes_per_s": 4.8e12, "tokens_per_s": 12345.6, "fits": True,
        "num_parameters": 7568097280, "intensity": 562.5, "small": 0.000123456, "reason": None,
        "finishes": {"length": 2}, "total_tera_eflop": 14780.0, "left_out": ["a:1: bad"], "nothing": [],
    }  # fmt: skip
    assert document_lines(document) == [
        "predicted: 28 us", "memory bytes: 16 GiB", "read: 4,800 GB/s", "tokens: 12,346 tokens/s", "fits: yes",
        "parameters: 7,568,097,280", "intensity: 562.5", "small: 0.000123456", "reason: -", "finishes: length 2",
        "total eFLOP: 14,780 TeFLOP", "left out:", "  a:1: bad", "nothing: -",
    ]  # fmt: skip


def test_json_keeps_base_units(folder, monkeypatch):
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, ["predict", "--operation", "dense", "--on", "H200", "--json"])
    assert json.loads(done.stdout)["predicted_s"] == pytest.approx(2.797e-5, rel=1e-3)
