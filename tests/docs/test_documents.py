"""What the documents ask for works, prints what they quote, and leaves the tree as it was.

Commands run in a clone, in one process that has the clone's code. A command that needs a GPU, the network or minutes is
not run, for a reason given here; its options are still looked up. An output is quoted under a comment that says what
printed it: `<!-- output: kinetics ... -->` is compared word for word, `<!-- excerpt: FILE -->` line by line with the
summary of that result file.
"""

import io
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer.main

from kinetics.bench.summary import print_summary
from kinetics.cli.main import app
from tests.support.documents import Block, Command, blocks, document_commands, help_examples
from tests.support.paths import ROOT
from tests.support.result_rows import make_law

NOT_RUN = {
    ("generate",): "needs weights",
    ("gate",): "takes minutes, and a base",
    ("aa",): "takes minutes",
    ("mini",): "trains for minutes",
    ("bench",): "takes minutes; tests/bench and .ci/run measure",
    ("probe",): "times this machine",
    (
        "validate",
    ): "needs the extra's tables or a file of one's own; tests/kinetics/cli/test_validate.py judges samples",
    ("publish",): "needs a run of one's own; tests/kinetics/cli/test_publish.py publishes made ones",
    ("law", "--fetch"): "needs the network",
    ("law", "--traces"): "needs logs; bench/test_aime.py makes some",
    ("law", "runs/*.jsonl"): "needs the authors' traces",
    ("law", "runs/aime24/*.jsonl"): "needs logs",
    ("law", "runs/aime24/dense.jsonl"): "needs logs",
    ("providers", "cuda"): "needs a GPU",
    ("import-latencies", "published_decode_latency.csv"): "needs the table",
}
"""Words that a `kinetics` command holds, the verb first, and why it is not run."""

OTHER_PROGRAMS = {
    "python3",
    "python",
    "pip",
    "pytest",
    "git",
    "tox",
    "pre-commit",
    ".ci/run",
    "echo",
    "torchrun",
    "bencher",
}

GROUP = typer.main.get_command(app)
COMMANDS = list(dict.fromkeys([*document_commands(), *help_examples(GROUP)]))
KINETICS = [command for command in COMMANDS if command.words[:1] == ("kinetics",)]


def why_not_run(command: Command) -> str | None:
    words = command.words[1:]
    return next((why for held, why in NOT_RUN.items() if words[0] == held[0] and set(held) <= set(words)), None)


def arguments(command: Command) -> list[str]:
    """The words behind `kinetics`, without what the shell does with its output or a comma that ends a phrase."""
    words = list(command.words[1:])
    return words[: words.index(">")] if ">" in words else words


def verb_of(words: list[str]) -> tuple[Any, list[str]]:
    """The verb, of a group of verbs too, and the words behind it."""
    found: Any = GROUP
    while words and words[0] in getattr(found, "commands", {}):
        found, words = found.commands[words[0]], words[1:]
    return found, words


RUN = [command for command in KINETICS if why_not_run(command) is None]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the tree as it is here, with the files that the documents' examples take."""
    folder = tmp_path_factory.mktemp("clone")
    listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "as here")
    measured = max((folder / "results").glob("cpu-*/*.json"), key=lambda path: path.stat().st_size)
    for name in ("old.json", "new.json", "here.json"):
        (folder / name).write_bytes(measured.read_bytes())
    for name in ("law.json", "law-here.json", "law-h200.json"):
        (folder / name).write_text(json.dumps(make_law()))
    (folder / "samples.csv").write_text(SAMPLES)
    (folder / "latencies.csv").write_text(LATENCIES)
    return folder


SAMPLES = "model,dataset,question_id,trial,generated_length,length_unit,answer,gold,correct\n" + "".join(
    f"Qwen3-{size},aime24,q{question},{trial},{1000 * (trial + 1)},tokens,7,7,{(question + trial) % 2}\n"
    for size in ("4B", "8B")
    for question in range(4)
    for trial in range(4)
)
LATENCIES = "hw,kernel_source,src,batch_size,kv_len,num_heads,num_key_value_heads,head_dim,latency_ms\n" + "".join(
    f"h200_sxm,fa3,made,{batch},{kv_len},32,8,128,{5e-3 + batch * kv_len * 2 * 8 * 128 * 2 / 4e9:.6f}\n"
    for batch in (1, 4, 16)
    for kv_len in (1024, 8192, 32768)
)


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def run(clone: Path) -> Iterator[Any]:
    """Runs the words behind `kinetics` in the clone; the answer is kept for whoever asks again."""
    environment = os.environ | {"PYTHONPATH": f"{clone}{os.pathsep}{clone / 'kernels'}", "COLUMNS": "130"}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.run_documents"],
        cwd=clone,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        known: dict[str, Any] = {}

        def answer(words: list[str]) -> Any:
            asked = json.dumps(words)
            if asked not in known:
                child.stdin.write(asked + "\n")
                child.stdin.flush()
                known[asked] = json.loads(child.stdout.readline())
            return known[asked]

        yield answer
        child.stdin.close()


@pytest.mark.parametrize("command", RUN, ids=str)
def test_a_documented_command_works(command: Command, run: Any) -> None:
    done = run(arguments(command))
    assert done["code"] == 0, done["stderr"]


def test_the_documented_commands_leave_the_tree_as_it_was(clone: Path, run: Any) -> None:
    given = {"old.json", "new.json", "here.json", "law.json", "law-here.json", "law-h200.json", "samples.csv"}
    given |= {"latencies.csv"}
    for command in RUN:
        run(arguments(command))
        words = command.words
        given |= {after for word, after in pairwise(words) if word in ("--out", "--markdown", "--figure", ">")}
    changed = [line[3:] for line in git(clone, "status", "--porcelain").splitlines()]
    assert [path for path in changed if not any(path.startswith(name) for name in given)] == []


@pytest.mark.parametrize("command", KINETICS, ids=str)
def test_every_option_of_a_documented_command_is_known(command: Command) -> None:
    verb, words = verb_of(arguments(command))
    assert verb is not GROUP, f"no such verb in {command.line!r}"
    if verb.context_settings.get("ignore_unknown_options"):
        return
    known = {name for parameter in verb.params for name in [*parameter.opts, *parameter.secondary_opts]}
    given = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert given - known == set()


def test_every_verb_shows_an_example() -> None:
    assert [str(example) for example in help_examples(GROUP) if not example.line] == []


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in KINETICS and c.line], ids=str)
def test_a_command_of_another_program_names_what_is_there(command: Command) -> None:
    words = [word for word in command.words if "=" not in word.split("/")[0]]
    assert words[0] in OTHER_PROGRAMS, f"{command.line!r}: say in this test how to check a {words[0]!r}"
    for word in words[1:]:
        if re.fullmatch(r"(bench|tests|scripts|docs|kernels)/[\w./-]*", word):
            assert (ROOT / word).exists(), word
        if extras := re.fullmatch(r"\.\[([\w,]+)\]", word):
            project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
            assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
    if words[0] == "pytest":
        known = subprocess_help()
        given = {word.split("=")[0] for word in words if word.startswith("--")}
        assert [option for option in given if option not in known] == []


def subprocess_help() -> str:
    """pytest's own account of its options, this suite's included; asked once."""
    if not _HELP:
        asked = [sys.executable, "-m", "pytest", "bench/", "--help"]
        _HELP.append(subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    return _HELP[0]


_HELP: list[str] = []


OUTPUTS = [block for block in blocks() if block.mark.startswith("output: ")]
EXCERPTS = [block for block in blocks() if block.mark.startswith("excerpt: ")]


def test_every_block_says_what_it_is() -> None:
    """Code in a language, or what a command printed: nothing that nobody compares."""
    assert [str(block) for block in blocks() if not block.language and block not in [*OUTPUTS, *EXCERPTS]] == []


@pytest.mark.parametrize("block", OUTPUTS, ids=str)
def test_a_quoted_output_is_what_the_command_prints(block: Block, run: Any) -> None:
    words = Command(where="", line=block.mark.removeprefix("output: ")).words
    done = run(list(words[1:]))
    assert done["code"] == 0, done["stderr"]
    assert lines_of(done["stdout"]) == lines_of(block.text)


@pytest.mark.parametrize("block", EXCERPTS, ids=str)
def test_a_quoted_excerpt_holds_lines_of_that_runs_summary(block: Block) -> None:
    path = ROOT / block.mark.removeprefix("excerpt: ")
    printed = io.StringIO()
    print_summary(json.loads(path.read_text()), result=path, recovered=[], file=printed)
    everything = " ".join(printed.getvalue().split())
    assert [line for line in lines_of(block.text) if line and line != "..." and line not in everything] == []


def lines_of(text: str) -> list[str]:
    """Lines with their words one space apart: how far columns stand from each other is nobody's concern."""
    return [" ".join(line.split()) for line in text.strip().splitlines()]
