"""A run that is killed at any moment and resumed gives what an uninterrupted run gives."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.paths import ROOT
from tests.support.tiny_model import save_problems


@pytest.mark.slow
def test_killed_at_twenty_random_moments_nothing_is_lost_doubled_or_changed(tiny_model, tmp_path):
    problems = save_problems(tmp_path / "made.jsonl")
    command = [sys.executable, "-m", "tests.support.kill_rounds", str(tiny_model), str(problems)]
    done = subprocess.run(
        [*command, str(tmp_path), "20"], capture_output=True, text=True, timeout=600, env=environment()
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["samples"] == 24
    partial = [left for left in found["left"] if 0 < left < 24]
    assert len(partial) >= 3, f"the kills must fall into generation, got {found['left']} samples left"


def environment():
    import os

    return {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}", "CUDA_VISIBLE_DEVICES": ""}
