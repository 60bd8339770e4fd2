"""A bench run over ranks: torchrun starts them, one speaks and writes, and none waits for one that failed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

BENCH = """
import os
import pytest
from kinetics.cases.steps import StepCase, StepCell
from kinetics.engine.decoder import Decoder
from kinetics.specs.models import ModelSpec
from kinetics.specs.policies import PolicyKind

MODEL = ModelSpec(
    name="Small", num_layers=2, hidden_size=128, num_q_heads=4, num_kv_heads=2, head_dim=64, intermediate_size=192,
    vocab_size=500, ties_embeddings=True, has_qkv_bias=False, has_qk_norm=True,
)
CELL = StepCell(
    model=MODEL, layer_counts=(2,), batch=2, context_len=100, page_size=16, device_kind="cpu", dtype="float32",
    uses_cuda_graph=False, num_devices=int(os.environ["WORLD_SIZE"]),
)
CASES = [
    StepCase(cell=CELL, policy=policy, num_layers=2, kv_budget=budget)
    for policy, budget in ((PolicyKind.DENSE, None), (PolicyKind.LOCAL, 64))
]

@pytest.mark.step
@pytest.mark.parametrize("case", CASES, ids=str)
def test_step(case, record_case):
    record_case(case)
"""
CONFTEST = """
import os, time
from kinetics.engine import tensor_parallel
from kinetics.engine.decoder import Decoder
from kinetics.machine import probe
from kinetics.measure import step_runner
from kinetics.measure.rounds import RoundPlan

tensor_parallel.RANK_TIMEOUT_S = 5.0
step_runner._PLAN["cpu"] = RoundPlan(budget_s=0.01, min_rounds=3, max_rounds=3)
step_runner.last_level_cache_bytes = lambda device: 2**20
probe._CPU_STREAM_BYTES = 2**22
probe.probe.__kwdefaults__["seconds_each"] = 0.05

decode, calls = Decoder.decode, []

def once_wrong(self, *arguments):
    calls.append(None)
    if os.environ["RANK"] == "1" and len(calls) == 7:
        if os.environ["HOW"] == "fails":
            raise RuntimeError("the planted failure")
        if os.environ["HOW"] == "hangs":
            time.sleep(600)
    return decode(self, *arguments)

Decoder.decode = once_wrong
"""


def torchrun(folder: Path, *options: str, how: str = "goes on", num_processes: int = 2, timeout_s: float = 240.0):
    (folder / "test_small.py").write_text(BENCH)
    (folder / "conftest.py").write_text(CONFTEST)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(num_processes), "--master-addr",
        "127.0.0.1", "--master-port", str(port), "-m", "pytest", "test_small.py", "--benchmark-only", "--device",
        "cpu", "--dtype", "float32", "--results-dir", "out", "-p", "no:cacheprovider", *options,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}", "OMP_NUM_THREADS": "1", "HOW": how}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )


@pytest.mark.slow
def test_ranks_measure_together_and_the_first_one_writes_and_speaks(tmp_path):
    done = torchrun(tmp_path, "--tp", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("2 passed") == 1
    assert done.stdout.count("Result file: ") == 1
    (file,) = (tmp_path / "out").glob("*/*.json")
    document = json.loads(file.read_text())
    assert document["machine_info"]["links"]["bytes_per_s"] > 0
    for bench in document["benchmarks"]:
        row = bench["extra_info"]
        assert row["tp"] == 2
        assert row["predicted_part_s"]["all_reduce"] > 6 * document["machine_info"]["links"]["collective_s"]
        assert row["predicted_s"] > row["predicted_part_s"]["all_reduce"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("fails", "kinetics: rank 1 of 2 failed: RuntimeError: the planted failure; all ranks end"),
        ("hangs", "kinetics: rank 0 of 2 waited for another in vain: "),
    ],
)
def test_a_rank_that_fails_or_hangs_ends_all_with_one_line(tmp_path, how, said):
    done = torchrun(tmp_path, "--tp", "2", how=how, timeout_s=120.0)
    assert done.returncode != 0
    assert said in done.stderr
    assert done.stderr.count("kinetics: ") == 1
    assert "passed" not in done.stdout


@pytest.mark.parametrize(("rank", "is_said"), [("0", True), ("1", False)])
def test_a_number_of_ranks_that_torchrun_did_not_start_is_refused_by_the_first_alone(tmp_path, rank, is_said):
    (tmp_path / "test_small.py").write_text(BENCH)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}", "WORLD_SIZE": "2", "RANK": rank}
    command = [sys.executable, "-m", "pytest", "test_small.py", "--benchmark-only", "--device", "cpu", "--tp", "4"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    line = "ERROR: --tp must be the number of processes that torchrun started, got --tp 4 and 2; run torchrun"
    assert (line in done.stderr) is is_said
    assert is_said or not (done.stdout + done.stderr).strip()
