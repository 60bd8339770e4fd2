"""Kill generating processes at random moments, resume, and compare with a run that nobody killed.

Up to three want one log at once; all but one are refused. Run by the test beside it. Every run is a fork of this
process, which is warm: it has generated on one thread, so that no pool of threads is lost in a fork.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from kinetics.generate.request import GenerateRequest, PolicyChoice, log_path
from kinetics.generate.run import run_generate
from kinetics.specs.generation import SamplingSettings
from kinetics.specs.policies import PolicyKind

NUM_TRIALS = 6


class Silent:
    def start(self, **_: object) -> None:
        pass

    def on_tokens(self, _: object) -> None:
        pass

    def on_sample(self, _: object) -> None:
        pass

    def say(self, _: object) -> None:
        pass


def request(model: Path, problems: Path, out: Path) -> GenerateRequest:
    return GenerateRequest(
        model=str(model),
        problems=problems,
        out=out,
        num_trials=NUM_TRIALS,
        max_new_tokens=40,
        resumes=True,
        choice=PolicyChoice(attention=PolicyKind.BLOCK_TOPK, kv_budget=64),
        batch=5,
        num_threads=1,
        sampling=SamplingSettings(temperature=1.0, top_p=0.95, top_k=20),
    )


def forked(work: GenerateRequest) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            run_generate(work, Silent())
        except BaseException as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return pid


def finish(work: GenerateRequest) -> None:
    _, status = os.waitpid(forked(work), 0)
    assert status == 0, f"a run failed with {status}"


def samples(path: Path) -> dict[tuple[str, int], object]:
    found: dict[tuple[str, int], object] = {}
    for line in path.read_text().splitlines()[1:]:
        record = json.loads(line)
        key = (record["problem_id"], record["trial"])
        assert key not in found, f"{key} is there twice"
        found[key] = (record["token_ids"], record["prediction"], record["finish"], record["score"])
    return found


def num_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for_lines(path: Path, wanted: int, pids: Sequence[int]) -> None:
    """Until so many lines are there or all have ended: a moment that no machine is too slow or fast for."""
    while num_lines(path) < wanted and not all(map(has_ended, pids)):
        time.sleep(0.001)


def has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def main(model: Path, problems: Path, folder: Path, num_rounds: int) -> None:
    torch.set_num_threads(1)
    run_generate(request(model, problems, folder / "calm"), Silent())
    started_s = time.perf_counter()
    finish(request(model, problems, folder / "again"))
    calm_s = time.perf_counter() - started_s
    calm = samples(log_path(request(model, problems, folder / "calm")))
    rng = random.Random(7)
    num_left = []
    for number in range(num_rounds):
        work = request(model, problems, folder / f"killed{number}")
        pids = [forked(work) for _ in range(rng.choice((1, 2, 3)))]
        wait_for_lines(log_path(work), rng.randrange(len(calm) + 1), pids)
        time.sleep(rng.uniform(0.0, calm_s / len(calm)))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        num_left.append(len(calm) - max(0, num_lines(log_path(work)) - 1))
        finish(work)
        again = samples(log_path(work))
        assert again.keys() == calm.keys(), f"round {number}: {calm.keys() ^ again.keys()} lost or added"
        changed = [key for key in calm if calm[key] != again[key]]
        assert not changed, f"round {number}: {changed} changed"
    print(json.dumps({"samples": len(calm), "left": num_left}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
