"""A worker never outlives the parent that asked it, not even in a call that hangs; what is no answer ends it."""

import json
import subprocess
import sys
import time

import psutil
import pytest

from kinetics.gate.process import WorkerLost, WorkerProcess
from tests.support.fake_checkout import behave
from tests.support.paths import ROOT

DOOMED_PARENT = """
import json
import os, signal, sys
from pathlib import Path
from kinetics.gate.process import WorkerProcess
worker = WorkerProcess("candidate", Path(sys.argv[1]), "cpu")
worker.facts()
print(worker.pid, flush=True)
worker.begin_prepare(
    {"operation": "dense", "model": "m", "batch": 1, "context_len": 1, "page_size": 1, "device_kind": "cpu",
     "dtype": "float32", "provider": "ours", "kv_budget": None}, seed=1)
worker.end_prepare()
worker._send({"do": "run"})
sys.stdin.read(1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def is_running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl, which only Linux has")
def test_a_worker_in_a_call_that_hangs_dies_with_a_parent_that_was_killed(repository):
    behave(repository, hang_at=2)  # prepare makes two calls
    arguments = [sys.executable, "-c", DOOMED_PARENT, str(repository)]
    with subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        time.sleep(1.0)
        assert is_running(pid)
        parent.communicate("x", timeout=120)
    deadline = time.monotonic() + 60
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


@pytest.mark.parametrize("reply", [{}, {"seconds": "x", "canary_bytes_per_s": 1.0}, {"seconds": 1.0}, {"seconds": 0.0,
                                   "canary_bytes_per_s": 1.0}])  # fmt: skip
def test_a_reply_that_is_no_sample_is_the_end_of_a_worker_in_one_line(tmp_path, reply):
    script = tmp_path / "worker.py"
    script.write_text(f"import sys\nfor line in sys.stdin:\n    print({json.dumps(reply)!r}, flush=True)\n")
    with (
        WorkerProcess("base", tmp_path, "cpu", script=script) as worker,
        pytest.raises(WorkerLost, match=r"^the base worker (answered 'run' with .*no sample|reported a time of 0.0 s)"),
    ):
        worker.run_once()
