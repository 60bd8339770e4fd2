"""Every option and argument of every verb, from the parser's own tree, with values that nobody should mean.

Verbs run for real on small made files. What would take seconds, a network or a GPU is replaced behind the reading and
checking of options (`replace_long_work` says what); all else, files included, is the product's.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import typer
import typer.main
from typer.testing import CliRunner

from kinetics.cli.main import app
from kinetics.gate.session import Machine
from tests.support.made_runs import make_run
from tests.support.result_rows import make_document, make_row

LIMIT_S: Final = 20.0
GROUP: Final[Any] = typer.main.get_command(app)
_NO_NUMBERS: Final = ("nan", "inf", "-inf", "1e400", "-1e400", "9" * 400, "", " ", "x", "True", "1,2,x")
_OTHER_CAUSES: Final = (
    "needs samples", "must not go with", "must be left out", "must be given, got both", "must name a .png",
    "must not exist yet",
)  # fmt: skip
_OUTPUTS: Final = ("--out", "--results-dir", "--markdown", "--bmf", "--csv", "--figure", "--to")
SAMPLES: Final = "model,dataset,question_id,trial,generated_length,length_unit,answer,gold,correct\n" + "".join(
    f"Qwen3-8B,aime24,q{question},{trial},{1000 * (trial + 1)},tokens,7,7,{(question + trial) % 2}\n"
    for question in range(3)
    for trial in range(3)
)
LATENCIES: Final = "hw,kernel_source,src,batch_size,kv_len,num_heads,num_key_value_heads,head_dim,latency_ms\n"
LATENCY: Final = "h200_sxm,fa3,made,{batch},{kv_len},32,8,128,{ms:.6f}\n"

_PREDICT: Final = "--model qwen3_8b --on H200 --context 4k"
_GENERATE: Final = (
    "--model mini-50k --dataset mini --questions 1 --max-new-tokens 4 --device cpu --out {folder}/logs/{call}"
)
BASES: Final[dict[str, list[tuple[str, str]]]] = {
    "": [("coverage", "")],
    "bench": [("test_decode_attention.py", "")],
    "recover": [("{folder}/empty", "")],
    "probe": [("", "--device cpu")],
    "providers": [("", "--device cpu")],
    "predict": [("", _PREDICT), ("", f"{_PREDICT} --operation dense"), ("", f"{_PREDICT} --operation step_block_topk")],
    "plan": [("", "--on H200")],
    "silicon": [("", "--on H200")],
    "cost": [
        ("", "--model Qwen3-8B"),
        ("", "--model Qwen3-8B --attention block_topk --kv-budget 1024 --block-size 16"),
    ],
    "coverage": [("", "--samples 4 --correct 1 --trials 2"), ("", "--samples 1m --correct 512k --trials 300k")],
    "grade": [("", "--gold 204")],
    "law": [
        ("{folder}/samples.csv", "--no-figures --out {folder}/law-out"),
        ("", "--no-figures --out {folder}/law-out"),
    ],
    "generate": [
        ("", _GENERATE),
        ("", f"{_GENERATE} --attention block_topk --kv-budget 32"),
        ("", _GENERATE.replace("--dataset mini", "--problems {folder}/problems.csv")),
    ],
    "validate": [("{folder}/latencies.csv", "")],
    "gate": [("", "--base HEAD --device cpu"), ("", "--baseline-file {folder}/old.json --device cpu")],
    "gate self-test": [("", "--device cpu")],
    "gate bisect": [("HEAD HEAD dense-ours-qwen3_8b-b1-c2k-p16", "--device cpu")],
    "gate trend": [("{folder}/runs/made", "")],
    "aa": [("", "--device cpu")],
    "mini": [("train", "--out {folder}/mini/{call}")],
    "mini train": [("", "--out {folder}/mini/{call}")],
    "compare": [("{folder}/old.json {folder}/new.json", "")],
    "import-latencies": [("{folder}/latencies.csv", "--out {folder}/imported/{call}")],
    "report": [("{folder}/old.json", "--out {folder}/page.html")],
    "publish": [("{folder}/run.json", "--to {folder}/published --no-quote")],
}
"""Arguments and options of each verb that are fine; several where other options matter on another way through it."""

VALUES: Final = (
    "0", "-1", "1", "3", str(2**63), "9" * 400, "1e400", "-1e400", "nan", "inf", "-inf", "1e-320", "", " ", "  4 ",
    "0x10", "\u0664", "x", "\u00fcn\u00efc\u00f6d\u00e9-\u221e-\U0001d54f", "a\nb\x1b[31m", "\udcff\udc80",
    "y" * 5000, ",,,", "=", "a=b", "--", "1,2,x", "4k..1k", "1..9e9", "True", "None", "[1]", "{{}}",
    "{folder}/missing/file.json", "{folder}/missing.jsonl", "{folder}", "{folder}/binary.json", "{folder}/empty.csv",
    "{folder}/old.json/below", "/proc/none/file.csv", "{folder}/full", "/proc/1/mem",
)  # fmt: skip
"""What an option is given; `full` is a device that takes nothing."""


@dataclass(frozen=True, slots=True)
class Call:
    """One command line with one hostile value; `takes_path` where the option is a file or a folder."""

    number: int
    verb: str
    option: str
    words: tuple[str, ...]
    takes_path: bool
    takes_number: bool = False

    @property
    def value(self) -> str:
        """The hostile value."""
        word = next((word for word in self.words if word.startswith(f"{self.option}=")), "")
        return word.partition("=")[2]

    def __str__(self) -> str:
        return f"#{self.number} kinetics {self.verb} {' '.join(word[:60] for word in self.words)!r}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: exit code, stderr, seconds, and what is wrong with that, if anything."""

    call: Call
    code: int
    stderr: str
    seconds: float
    fault: str


class TooLongError(BaseException):
    """A call that had to be stopped; nothing in the product may catch it."""


def all_calls() -> list[Call]:
    """The whole sweep: each base of each verb with each value at each of its parameters."""
    found: list[Call] = []
    for verb, param in _parameters(GROUP, ()):
        for base in BASES[verb]:
            for words in _wordings(param, *base):
                kind = param.type_descriptor
                is_number = kind.annotation in (int, float)
                found.append(Call(len(found), verb, _name(param), words, kind.is_path, is_number))
    for option, _, _ in _bench_options():
        for value in VALUES:
            found.append(Call(len(found), "bench", option, (f"{option}={value}",), takes_path=False))
    return found


def a_slice(seed: int) -> list[Call]:
    """One call of every parameter of every verb, its value drawn by a seed."""
    by_parameter: dict[tuple[str, str], list[Call]] = {}
    for call in all_calls():
        by_parameter.setdefault((call.verb, call.option), []).append(call)
    drawn = random.Random(seed)
    return [drawn.choice(calls) for calls in by_parameter.values()]


def run_calls(calls: Sequence[Call], folder: Path) -> Iterator[Outcome]:
    """Run calls one after the other in a folder of made files."""
    for call in calls:
        words = [word.format(folder=folder, call=call.number) for word in (*call.verb.split(), *call.words)]
        started = time.monotonic()
        with _bounded():
            try:
                done = CliRunner().invoke(app, words, input="so \\boxed{204}")
                code, stderr, fault = done.exit_code, done.stderr, _fault(done, call)
            except TooLongError:
                code, stderr, fault = -1, "", f"had not ended after {LIMIT_S:g} s"
        yield Outcome(call, code, stderr, time.monotonic() - started, fault)


def make_files(folder: Path) -> None:
    """What calls read, in a folder that is a checkout."""
    commit = "git init -q . && git -c user.name=t -c user.email=t@example.org commit -q --allow-empty -m made"
    subprocess.run(commit, cwd=folder, shell=True, check=True)
    (folder / "samples.csv").write_text(SAMPLES, encoding="utf-8")
    lines = [
        LATENCY.format(batch=b, kv_len=n, ms=5e-3 + b * n * 1e-6) for b in (1, 2, 4, 8) for n in range(1024, 7168, 1024)
    ]
    (folder / "latencies.csv").write_text(LATENCIES + "".join(lines), encoding="utf-8")
    for name, seconds in (("old.json", 2e-3), ("new.json", 1e-3)):
        document = make_document([make_row(samples=[seconds] * 9)])
        (folder / name).write_text(json.dumps(document), encoding="utf-8")
    (folder / "runs" / "made").mkdir(parents=True)
    for day in range(1, 8):
        document = make_document([make_row(canary_bytes_per_s=1e9)], started_utc=f"2026-01-{day:02}T00:00:00Z")
        (folder / "runs" / "made" / f"{day}.json").write_text(json.dumps(document), encoding="utf-8")
    (folder / "problems.csv").write_text("problem,answer\nWhat is 1 + 1?,2\n", encoding="utf-8")
    (folder / "run.json").write_text(json.dumps(make_run()), encoding="utf-8")
    (folder / "binary.json").write_bytes(bytes(range(256)) * 8)
    (folder / "empty.csv").touch()
    (folder / "empty").mkdir()
    (folder / "full").symlink_to("/dev/full")


def replace_long_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace measuring, training, generating, Ray, launches of the gate and pytest.

    Each is replaced where it starts, so that all that reads and checks options runs before it.
    """
    rates = ("read_bytes_per_s", "cached_read_bytes_per_s", "copy_bytes_per_s", "matmul_flop_per_s", "launch_s")
    monkeypatch.setattr("kinetics.machine.probe._cpu_rates", lambda *_: {name: [lambda: 1e10] for name in rates})
    monkeypatch.setattr("kinetics.machine.probe._samples", lambda rate, _: [rate()])
    machine = Machine(facts={"device_kind": "cpu", "device_slug": "cpu-made"}, ceilings={})
    monkeypatch.setattr("kinetics.gate.runs.probe_machine", lambda *_, **_options: machine)
    monkeypatch.setattr("kinetics.gate.runs.checked_out", _any_checkout)
    monkeypatch.setattr("kinetics.gate.runs.repository_root", lambda start: start)
    monkeypatch.setattr("kinetics.gate.runs.recover_journals", _ends)
    monkeypatch.setattr("kinetics.gate.bisect_case.probe_machine", lambda *_: machine)
    monkeypatch.setattr("kinetics.gate.bisect_case.repository_root", lambda start: start)
    monkeypatch.setattr("kinetics.gate.bisect_case.checked_out", _any_checkout)
    monkeypatch.setattr("kinetics.gate.bisect_case.fingerprints", _ends)
    monkeypatch.setattr("kinetics.mini.train.Trainer.advance", _advance_at_once)
    monkeypatch.setattr("kinetics.mini.train._training_record", lambda _: {})
    monkeypatch.setattr("kinetics.generate.run.evaluate", lambda *_, **__: [])
    monkeypatch.setattr("kinetics.samples.workers.RayWorkers", _ends)
    monkeypatch.setattr("pytest.main", _read_bench_options)
    monkeypatch.setattr("typer.testing._get_command", lambda _: GROUP)  # made once and not for every call
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def _parameters(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for param in command.params:
        yield " ".join(path), param
    for name, below in getattr(command, "commands", {}).items():
        yield from _parameters(below, (*path, name))


def _name(param: Any) -> str:
    return str(max(param.opts, key=len)) if param.param_type_name == "option" else str(param.name).upper()


def _wordings(param: Any, arguments: str, options: str) -> Iterator[tuple[str, ...]]:
    """The base with each value at one parameter; a switch is turned, and given a value."""
    base, others = options.split(), arguments.split()
    if param.param_type_name == "argument":
        for value in VALUES:
            yield (*base, "--", value, *others[1:])
        return
    for name in (*param.opts, *param.secondary_opts):
        given = [name, f"{name}=yes"] if param.is_flag else [f"{name}={value}" for value in VALUES]
        for word in given if name.startswith("--") else []:
            yield (*base, word, *others)


def _fault(done: Any, call: Call) -> str:
    """What is wrong with how a call ended."""
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return f"a traceback: {type(done.exception).__name__}: {done.exception}"[:300]
    if done.exit_code not in (0, 1, 2, 3):
        return f"exit code {done.exit_code}"
    said = [line for line in done.stderr.splitlines() if line.startswith("kinetics: ")]
    if done.exit_code == 0:
        is_missing = call.takes_path and call.option not in _OUTPUTS and any("missing" in word for word in call.words)
        is_no_number = call.takes_number and call.value in _NO_NUMBERS
        return "a missing file or folder, or no number, and exit code 0" if is_missing or is_no_number else ""
    if done.exit_code in (2, 3) and (not said or done.stderr.splitlines()[-1] != said[-1]):
        return "no line that says why"
    if done.exit_code in (2, 3) and len([line for line in said if "left aside" not in line]) != 1:
        return "more than one line"
    if "Traceback" in done.stderr:
        return "a traceback on stderr"
    is_other_cause = any(words in done.stderr for words in _OTHER_CAUSES)
    if done.exit_code == 2 and call.takes_path and not (_is_empty(call) or is_other_cause):
        return "a file or folder that cannot be used, and not exit code 3"
    return ""


def _is_empty(call: Call) -> bool:
    return not (call.value or call.words[-1]).strip()


@contextmanager
def _bounded() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _ends(*_: object, **__: object) -> Any:
    """In the place of long work: the verb is fine up to here."""
    raise typer.Exit(0)


@contextmanager
def _any_checkout(*_: object) -> Iterator[Path]:
    yield Path.cwd()


def _advance_at_once(trainer: Any) -> None:
    trainer.step = trainer.plan.num_steps


def _bench_options() -> Sequence[tuple[str, str, str]]:
    from kinetics.bench import options

    return options._OPTIONS


def _read_bench_options(arguments: Sequence[str]) -> int:
    """In the place of pytest: its parser with the suite's options, and what they are read into."""
    import argparse

    from kinetics.bench.options import bench_settings

    parser = argparse.ArgumentParser()
    for name, default, _ in _bench_options():
        parser.add_argument(name, default=default)
    found, _ = parser.parse_known_args(list(arguments))
    bench_settings(found, root=Path.cwd())
    return 0


def main() -> None:
    """Run the sweep, or the calls of the verbs named on the command line, in a folder of its own; print what fails."""
    verbs = sys.argv[1:]
    calls = [call for call in all_calls() if not verbs or call.verb in verbs]
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as monkeypatch:
        folder = Path(name)
        make_files(folder)
        replace_long_work(monkeypatch)
        monkeypatch.chdir(folder)
        outcomes, shown = [], set()
        for outcome in run_calls(calls, folder):
            outcomes.append(outcome)
            kind = (outcome.call.verb, outcome.call.option, outcome.fault, outcome.stderr[-300:][:40])
            if outcome.fault and kind not in shown:
                shown.add(kind)
                print(
                    f"{outcome.call}: {outcome.fault} [{outcome.seconds:.1f} s]\n    {outcome.stderr[-300:]!r}",
                    flush=True,
                )
    slowest = max(outcomes, key=lambda one: one.seconds)
    codes = sorted(Counter(one.code for one in outcomes).items())
    print(f"{len(outcomes)} calls, {sum(bool(one.fault) for one in outcomes)} faults, exit codes {codes}")
    print(f"slowest: {slowest.seconds:.1f} s, {slowest.call}")


if __name__ == "__main__":
    main()
