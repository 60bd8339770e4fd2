"""A run that is killed at any moment and resumed gives what an uninterrupted run gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_model import save_problems

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_killed_at_twenty_random_moments_nothing_is_lost_doubled_or_changed(tiny_model, tmp_path):
    problems = save_problems(tmp_path / "made.jsonl")
    command = [sys.executable, str(Path(__file__).with_name("kill_rounds.py")), str(tiny_model), str(problems)]
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
