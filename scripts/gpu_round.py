"""What to measure when a GPU is there for half an hour, in calls of at most ten minutes, the most valuable first.

    python scripts/gpu_round.py --part 1 --out DIR --deadline 570
    python scripts/gpu_round.py --part 1 --out DIR --device pretend     what it would do and leave, without a GPU

Each stage is a process of its own with a limit of its own; what it finds is on disk before the next one starts, one
that fails stops none, and a round that was killed goes on where the same command is given again. Runs from the working
tree, installed or not: KINETICS_COMMIT names its commit where there is no git. `docs/gpu.md` walks through it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Final

from gpu_round_stages import Stage, stages_of

from kinetics.machine.facts import COMMIT_VARIABLE, source_state

ROOT: Final = Path(__file__).resolve().parents[1]
PARTS: Final = (1, 2, 3)
GRACE_S: Final = 12.0
"""For a stage that was interrupted: to write down what it has."""
MIN_STAGE_S: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a stage ended. `how`: finished, failed, interrupted (at its limit), killed, or skipped (no time was left)."""

    stage: str
    command: Sequence[str]
    how: str
    exit_code: int | None
    seconds: float
    limit_s: float


class Round:
    """One part of a round: its stages in order, a log of what they say, and a line on disk for each that ended."""

    def __init__(
        self, stages: Sequence[Stage], *, out: Path, name: str, deadline_s: float, environment: dict[str, str]
    ):
        self._stages = stages
        self._log_path = out / f"{name}.log"
        self._record = out / f"{name}.jsonl"
        self._environment = environment
        self._started = time.monotonic()
        self._deadline_s = deadline_s

    def run(self) -> list[Ended]:
        """Run the stages that were not finished by an earlier call."""
        done = self._finished_before()
        ended = []
        with self._log_path.open("ab") as log:
            for number, stage in enumerate(self._stages):
                if stage.name in done:
                    continue
                one = self._run_stage(stage, self._limit_s(number), log)
                append_line(self._record, asdict(one))
                print(f"[{time.monotonic() - self._started:4.0f} s] {stage.name}: {one.how}", flush=True)
                ended.append(one)
        return ended

    def _finished_before(self) -> set[str]:
        if not self._record.exists():
            return set()
        lines = [json.loads(line) for line in self._record.read_text(encoding="utf-8").splitlines() if line]
        return {line["stage"] for line in lines if line["how"] == "finished"}

    def _limit_s(self, number: int) -> float:
        """What the stage may take: its own limit, or what is left before those that must not be given up."""
        left_s = self._deadline_s - (time.monotonic() - self._started)
        kept_s = sum(stage.limit_s for stage in self._stages[number + 1 :] if stage.is_kept)
        return min(self._stages[number].limit_s, left_s - kept_s)

    def _run_stage(self, stage: Stage, limit_s: float, log: IO[bytes]) -> Ended:
        command = [sys.executable, *stage.arguments]
        if limit_s < MIN_STAGE_S:
            return Ended(
                stage=stage.name, command=command, how="skipped", exit_code=None, seconds=0.0, limit_s=stage.limit_s
            )
        log.write(f"\n== {stage.name}: {' '.join(command)}\n".encode())
        log.flush()
        started = time.monotonic()
        child = subprocess.Popen(  # noqa: S603 - this interpreter, our own stages
            command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=ROOT, env=self._environment,
            start_new_session=True, preexec_fn=_heed_interrupts,
        )  # fmt: skip
        how = _wait(child, limit_s)
        os.fsync(log.fileno())
        return Ended(
            stage=stage.name, command=command, how=how, exit_code=child.returncode,
            seconds=round(time.monotonic() - started, 1), limit_s=round(limit_s, 1),
        )  # fmt: skip


def _heed_interrupts() -> None:
    """Shells let what runs in their background ignore SIGINT; a stage must not inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _wait(child: subprocess.Popen[bytes], limit_s: float) -> str:
    """Wait for the end; at the limit interrupt, and kill what does not heed it, with all that it started."""
    grace_s = min(GRACE_S, limit_s / 3)
    try:
        return "failed" if child.wait(timeout=limit_s - grace_s) else "finished"
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGINT)
    except BaseException:
        os.killpg(child.pid, signal.SIGKILL)
        raise
    try:
        child.wait(timeout=grace_s)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        return "killed"
    return "interrupted"


def append_line(path: Path, line: dict[str, object]) -> None:
    """Add a JSON line that outlives this process."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def stage_environment() -> dict[str, str]:
    """The working tree on the path, its commit by name, no threads of tokenizers, and an interrupt that is heeded."""
    path = os.pathsep.join(filter(None, [str(ROOT), str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    commit, is_dirty = source_state(ROOT)
    if commit != "unknown":
        environment[COMMIT_VARIABLE] = f"{commit}{'-dirty' if is_dirty else ''}"
    return environment


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", type=int, choices=PARTS, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for everything that is found")
    parser.add_argument("--deadline", type=float, default=570.0, help="seconds, all stages together")
    parser.add_argument("--device", choices=("cuda", "pretend"), default="cuda")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    (out / "runs").mkdir(parents=True, exist_ok=True)
    name = f"{'pretend_' if arguments.device == 'pretend' else ''}part{arguments.part}"
    stages = stages_of(arguments.part, out=out, device=arguments.device)
    environment = stage_environment()
    if COMMIT_VARIABLE not in environment:
        print(f"no commit is known: set {COMMIT_VARIABLE}, or nothing of this can be published", file=sys.stderr)
    ended = Round(stages, out=out, name=name, deadline_s=arguments.deadline, environment=environment).run()
    return int(any(one.how != "finished" for one in ended))


if __name__ == "__main__":
    sys.exit(main())
